"""What the server answers: the schemas of its interface."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

PixelBox = tuple[float, float, float, float]
"""x1 y1 x2 y2 in pixels of the upright image; the whole image is 0, 0, width, height."""


class Problem(BaseModel):
    """Why there is no answer."""

    detail: Annotated[str, Field(description="what was expected, what came, what helps")]


class ModelCard(BaseModel):
    """A detector that the server holds."""

    name: Annotated[str, Field(description="of its run folder")]
    method: Literal["sppnet", "rcnn"]
    backbone: str
    layer: Annotated[str, Field(description="that the classifier reads")]
    scores: Annotated[
        Literal["svm", "softmax"],
        Field(description="svm: unbounded, about 0 in doubt; softmax: probabilities"),
    ]
    class_names: list[str]
    threshold: Annotated[
        float,
        Field(description="the probability, or score without calibration, worth showing"),
    ]
    calibrated: Annotated[bool, Field(description="whether detections have probabilities")]


class Settings(BaseModel):
    """What the server does, and what it accepts."""

    version: str
    models: list[ModelCard]
    max_upload_bytes: int
    max_pixels: int
    examples: Annotated[list[str], Field(description="names of the example images")]


class Health(BaseModel):
    """How busy the server is."""

    waiting: Annotated[int, Field(description="images in the queue")]
    queue: Annotated[int, Field(description="how many may wait")]


class Found(BaseModel):
    """A detected object."""

    class_name: str
    label: Annotated[int, Field(description="its number, from 0")]
    score: Annotated[float, Field(description="what detections are ranked by")]
    probability: Annotated[
        float | None, Field(description="of being right; null without calibration")
    ] = None
    box: Annotated[PixelBox, Field(description="x1 y1 x2 y2, pixels of the upright image")]


class ModelAnswer(BaseModel):
    """The detections of one detector, best first, and the time they took."""

    name: str
    method: Literal["sppnet", "rcnn"]
    detections: list[Found]
    stages: Annotated[dict[str, float], Field(description="seconds of each stage, in order")]
    seconds: Annotated[float, Field(description="of all stages, without the proposals")]


class Answer(BaseModel):
    """The detections of one image."""

    name: Annotated[str, Field(description="of the uploaded file")]
    width: int
    height: int
    proposals: Annotated[list[PixelBox], Field(description="the boxes that every detector scored")]
    decode_seconds: float
    proposal_seconds: float
    models: list[ModelAnswer]
