"""The subcommands of `emoicl`, one a file: its parser and what it runs."""
