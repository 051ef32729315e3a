"""The page: its parts, their places and what listens to what."""

from pathlib import Path
from typing import Any

import gradio as gr
from gradio.themes import Base, LocalFont

from emoicl.app import views
from emoicl.app.actions import NO_LABEL, Actions
from emoicl.app.session import Session
from emoicl.loading import load_pipeline
from emoicl.processing.classification_pipeline_emoicl import EmoIclClassificationPipeline
from emoicl.processing.pipeline_emoicl import EmoIclPipeline


# Every so many seconds, files older than so many seconds are deleted.
DELETE_FILES = (60, 600)
# Ten minutes in the largest common format.
MAX_FILE_SIZE = "200mb"
STYLE = Path(__file__).with_name("page.css")
# Gradio's own copy of its font: a page that asks for fonts elsewhere tells others who looks at it.
THEME = Base(
    primary_hue="teal",
    neutral_hue="slate",
    font=[LocalFont("IBM Plex Sans", weights=(400, 700)), "system-ui", "sans-serif"],
).set(
    body_text_color_subdued="*neutral_600",
    color_accent="*primary_700",
    button_primary_background_fill="*primary_700",
    button_primary_background_fill_hover="*primary_800",
    button_primary_background_fill_dark="*primary_700",
    # Gradio's own are those of the block around them, and so next to invisible.
    checkbox_background_color_dark="*neutral_900",
    checkbox_border_color_dark="*neutral_400",
    button_large_text_weight="700",
    button_small_text_weight="700",
)
# This is a page, not a service for other programs.
PRIVATE: dict[str, Any] = {"api_visibility": "private"}
# One model serves all visitors, one after the other.
ON_THE_MODEL: dict[str, Any] = {**PRIVATE, "concurrency_id": "model", "concurrency_limit": 1}
FORWARD_REMOVE = """
element.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-shot]");
  if (button) trigger("delete", { index: Number(button.dataset.shot) });
});
"""


def build_app(pipe: EmoIclPipeline | EmoIclClassificationPipeline) -> gr.Blocks:
    """
    Builds the page. [`launch`] serves it.

    Args:
        pipe ([`EmoIclPipeline`]): The recognizer.

    Returns:
        `gradio.Blocks`

    Raises:
        `ValueError`: If the model is a classifier, which enrolls nobody.
    """
    if not isinstance(pipe, EmoIclPipeline):
        raise ValueError("The page needs a speech language model; this model is a classifier, which enrolls nobody.")
    actions = Actions(pipe)
    with gr.Blocks(title="emoicl", analytics_enabled=False, delete_cache=DELETE_FILES) as page:
        session = gr.State(Session())
        with gr.Row(elem_id="emoicl-top"):
            _html(views.header_view(), scale=3)
            example = gr.Button(
                "Try an example speaker", size="sm", visible=actions.has_examples, elem_id="emoicl-example"
            )
        with gr.Row(equal_height=False, elem_id="emoicl-columns"):
            with gr.Column(min_width=340):
                problem = _enrollment(actions, session)
            with gr.Column(min_width=340):
                target, said = _recognition(actions, session)
        _html(views.about_view())
        _html(views.notice_view(), elem_id="emoicl-notice")
        turn = gr.State(0)
        example.click(actions.show_example, turn, [session, target, said, problem, turn], **ON_THE_MODEL)
        page.load(actions.choose_examples, **ON_THE_MODEL)
    return page


def _html(value: str = "", **options: Any) -> gr.HTML:
    """HTML with our style alone."""
    return gr.HTML(value, apply_default_css=False, **options)


def _enrollment(actions: Actions, session: gr.State) -> gr.HTML:
    """The part that enrolls. Returns its message box."""
    _html(views.step_view(1, "Enroll the speaker", "A few utterances of theirs, each with its emotion if known."))
    recording = gr.Audio(
        label="An utterance of the speaker", type="filepath", editable=False, buttons=[], elem_id="emoicl-recording"
    )
    choices = [*actions.labels, NO_LABEL]
    label = gr.Dropdown(choices, value=actions.labels[0], label="Its emotion", elem_id="emoicl-label")
    consent = gr.Checkbox(
        label="This is my voice, or the speaker has given informed consent.", elem_id="emoicl-consent"
    )
    with gr.Row():
        add = gr.Button("Enroll utterance", variant="primary", elem_id="emoicl-add")
        clear = gr.Button("Clear profile", elem_id="emoicl-clear")
    problem = _html(elem_id="emoicl-problem")
    profile = _html(actions.show_profile(Session()), js_on_load=FORWARD_REMOVE, elem_id="emoicl-profile")

    add.click(actions.add, [session, recording, label, consent], [session, recording, label, problem], **ON_THE_MODEL)
    profile.delete(actions.remove, session, session, **PRIVATE)
    clear.click(actions.clear, None, [session, problem], **PRIVATE)
    session.change(actions.show_profile, session, profile, show_progress="hidden", **PRIVATE)
    return problem


def _recognition(actions: Actions, session: gr.State) -> tuple[gr.Audio, gr.HTML]:
    """The part that recognizes. Returns the target, and the line that says whose it is."""
    _html(views.step_view(2, "Recognize", "Another utterance of theirs, or a longer recording."))
    target = gr.Audio(label="The recording", type="filepath", editable=False, buttons=[], elem_id="emoicl-target")
    said = _html(elem_id="emoicl-said")
    answer = _html(views.answer_view(), elem_id="emoicl-answer")

    gr.on(
        [target.change, session.change], actions.recognize, [session, target], answer,
        trigger_mode="always_last", **ON_THE_MODEL,
    )  # fmt: skip
    # What was said is known of an example alone.
    target.input(str, None, said, show_progress="hidden", **PRIVATE)
    return target, said


def launch(page: gr.Blocks, host: str | None = None, port: int | None = None, **options: Any) -> str:
    """
    Serves a page in the background, never through Gradio's servers.

    Args:
        page (`gradio.Blocks`): What [`build_app`] returned.
        host (`str`, *optional*): Address to listen at, by default `$GRADIO_SERVER_NAME`, else this machine alone.
        port (`int`, *optional*): Port to listen at, by default the first free one from 7860.
        **options: Other arguments of `gradio.Blocks.launch`.

    Returns:
        `str`: The address of the page.

    Raises:
        `OSError`: If the address or the port cannot be listened at.
    """
    try:
        _, url, _ = page.launch(
            server_name=host, server_port=port, share=False, ssr_mode=False, quiet=True, prevent_thread_lock=True,
            theme=THEME, css_paths=STYLE, footer_links=[], run_history=False, max_file_size=MAX_FILE_SIZE, **options,
        )  # fmt: skip
    except OSError as error:
        place = f"{host or 'this machine'}, port {port or '7860 and up'}"
        raise OSError(
            f"The page cannot listen at {place}: it is taken, or no address of this machine. Give another one."
        ) from error
    return url


def serve(model: str | None = None, host: str | None = None, port: int | None = None) -> None:
    """
    Serves the page of a model until it is interrupted.

    Args:
        model (`str`, *optional*): `"speech"`, the default, `"bursts"`, or a folder or Hub name.
        host (`str`, *optional*): Address to listen at, see [`launch`].
        port (`int`, *optional*): Port to listen at, see [`launch`].
    """
    pipe = load_pipeline(model)
    page = build_app(pipe)
    print(f"The page is at {launch(page, host, port)} (Ctrl+C ends it).")
    page.block_thread()
