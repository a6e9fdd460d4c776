"""LibreTranslate's API, as its clients know it: https://libretranslate.com/docs. Errors are `{"error": message}`."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, field_validator

from allyouneed.serving.api_errors import ApiError
from allyouneed.serving.body import Text, read_body, refuse_long
from allyouneed.serving.detect import Guess
from allyouneed.serving.document_jobs import FORMATS
from allyouneed.serving.markup import Form
from allyouneed.serving.model_worker import Options
from allyouneed.serving.native import receive_file
from allyouneed.serving.openapi import Direct, body_of, errors, upload_of
from allyouneed.serving.state import AUTO, Server, language_name

_BEAM = 4  # what is searched for alternatives, at least
_MOST_ALTERNATIVES = 15


class TranslateBody(BaseModel):
    """q: a text, or several in JSON; source: a code or `auto`."""

    q: Text | list[Text]
    source: str
    target: str
    format: Literal["text", "html"] = "text"
    alternatives: int = Field(0, ge=0, le=_MOST_ALTERNATIVES)
    api_key: str | None = None

    @field_validator("format", mode="before")
    @classmethod
    def _none_is_text(cls, value: Any) -> Any:
        return value or "text"


class DetectBody(BaseModel):
    q: Text
    api_key: str | None = None


def routes(server: Server) -> APIRouter:
    router = APIRouter(tags=["LibreTranslate"], route_class=Direct)
    limits = server.settings

    @router.post("/translate", openapi_extra=body_of(TranslateBody), responses=errors())
    async def translate(request: Request) -> JSONResponse:
        body = await read_body(request, TranslateBody)
        texts = [body.q] if isinstance(body.q, str) else body.q
        refuse_long(sum(map(len, texts)), limits.characters)
        server.enter(request, body.api_key, texts)
        form = Form() if body.format == "html" else None
        results = await server.translate(texts, body.source, body.target, _options(body.alternatives), form)
        answer: dict[str, Any] = {"translatedText": [result.text for result in results]}
        if body.source.strip().lower() == AUTO:
            answer["detectedLanguage"] = [_guessed(result.guess) for result in results]
        if body.alternatives:
            answer["alternatives"] = [result.alternatives for result in results]
        if isinstance(body.q, str):
            answer = {name: values[0] for name, values in answer.items()}
        return JSONResponse(answer)  # as it is: FastAPI would check and copy a dictionary first

    @router.post("/detect", openapi_extra=body_of(DetectBody), responses=errors())
    async def detect(request: Request) -> list[dict[str, Any]]:
        body = await read_body(request, DetectBody)
        refuse_long(len(body.q), limits.characters)
        server.enter(request, body.api_key, [body.q])
        return [_guessed(guess) for guess in server.detector.guesses(body.q)]

    @router.get("/languages")
    async def languages() -> list[dict[str, Any]]:
        pairs = server.desk.pairs
        return [{"code": c, "name": language_name(c), "targets": pairs.targets(c)} for c in pairs.sources]

    @router.post("/translate_file", openapi_extra=upload_of("source", "target", "api_key"), responses=errors())
    async def translate_file(request: Request) -> dict[str, str]:
        document = await receive_file(server, request, None)
        await server.documents.finished(document)
        return {"translatedFileUrl": str(request.url_for("download", identifier=document.id))}

    @router.get("/frontend/settings")
    async def frontend_settings() -> dict[str, Any]:
        source, target = sorted(server.desk.pairs.translators)[0]
        return {
            "charLimit": limits.characters,
            "frontendTimeout": 500,
            "apiKeys": server.gate.required,
            "keyRequired": server.gate.required,
            "suggestions": False,
            "filesTranslation": True,
            "supportedFilesFormat": list(FORMATS),
            "language": {
                "source": {"code": source, "name": language_name(source)},
                "target": {"code": target, "name": language_name(target)},
            },
        }

    return router


def _options(alternatives: int) -> Options:
    if not alternatives:
        return Options()
    return Options(beam_size=max(_BEAM, alternatives + 1), num_hypotheses=alternatives + 1)


def _guessed(guess: Guess | None) -> dict[str, Any]:
    if guess is None:
        raise ApiError(400, "the language was given")
    return {"confidence": guess.confidence, "language": guess.language}
