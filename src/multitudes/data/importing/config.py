"""Settings of an import: what a person knows of the files. What is unset is found out."""

import codecs

from pydantic import Field, ValidationInfo, field_validator

from multitudes.config import Config

_SEPARATORS = {"\\t": "\t", "tab": "\t", "space": " ", "comma": ",", "semicolon": ";", "none": ""}


class ImportConfig(Config):
    """Settings of ``import_files``."""

    separator: str | None = Field(None, description="between the columns of a line: one to four signs, or tab")
    encoding: str | None = Field(None, description="of text, such as utf-16 or latin-1")
    time_format: str | None = Field(None, description="of times, as strftime has it, such as '%d/%m/%Y %H:%M'")
    list_separator: str | None = Field(None, description="between topics; none: each value is one topic")
    file_order: bool = Field(
        False, description="there are no times: the rows of each user are in the order in which they happened"
    )
    max_dropped: float = Field(
        0.1, ge=0, le=1, description="share of a file's rows that may be left out; with more, nothing is written"
    )

    @field_validator("separator", "list_separator")
    @classmethod
    def _name_sign(cls, sign: str | None, info: ValidationInfo) -> str | None:
        sign = _SEPARATORS.get(sign or "", sign)
        if info.field_name == "separator" and sign is not None and not 1 <= len(sign.encode()) <= 4:
            raise ValueError("expected one to four signs, such as ';', '::' or tab")
        return sign

    @field_validator("encoding")
    @classmethod
    def _name_encoding(cls, encoding: str | None) -> str | None:
        try:
            return None if encoding is None else codecs.lookup(encoding).name
        except LookupError:
            raise ValueError("expected an encoding such as utf-8, utf-16 or latin-1") from None
