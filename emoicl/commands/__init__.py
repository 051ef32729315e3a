"""
The `emoicl` command: its subcommands, one a file, each with its parser and what it runs.

It is a package of its own, `emoicl_commands`, beside `emoicl`: to import anything below `emoicl` registers the models
with transformers, which takes seconds. A command line is parsed without, and what a subcommand runs is imported when
it runs.
"""
