"""An engine's settings as a part of the plan's model, loaded when a plan has some."""

from typing import Any, get_args

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from drctl.engines import engine


class Settings:
    """Stands in an annotation for what the engine of this kind understands."""

    def __init__(self, kind: str) -> None:
        self._kind = kind

    @property
    def model(self) -> type[BaseModel]:
        """The settings themselves."""
        return engine(self._kind).settings

    def __get_pydantic_core_schema__(
        self, _source: Any, _handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self._validate)

    def __get_pydantic_json_schema__(
        self, _schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return handler(self.model.__pydantic_core_schema__)

    def _validate(self, value: Any) -> BaseModel:
        """Its complaints become the plan's, with the place in front."""
        return self.model.model_validate(value)


def inner(annotation: Any) -> Any:
    """`X | None` and annotations around X give X, what stands for settings gives the settings."""
    marks = getattr(annotation, "__metadata__", ())
    for mark in marks:
        if isinstance(mark, Settings):
            return mark.model
    if marks:
        annotation = annotation.__origin__
    found = [part for part in get_args(annotation) if part is not type(None)]
    if len(found) == 1 and type(None) in get_args(annotation):
        return inner(found[0])
    return annotation
