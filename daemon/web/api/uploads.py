"""Sending a recording in pieces, which can be resumed: begin, add bytes from the offset on, finish."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Path, Response
from starlette.requests import ClientDisconnect, Request

from daemon import asked
from daemon.asked import BadChoice
from daemon.web.api.common import by, site_of
from daemon.web.api.shapes import UploadRequest, UploadShape, UploadsShape
from daemon.web.errors import Declined
from daemon.web.uploads.receiving import Upload, UploadError, Uploads, Wanted, WrongOffset
from daemon.web.uploads.streaming import apart, pour
from daemon.web.views.upload import place_of

router = APIRouter(tags=["uploads"], prefix="/uploads")

OCTETS = "application/offset+octet-stream"
OFFSET = "Upload-Offset"
LENGTH = "Upload-Length"

UploadId = Annotated[str, Path(max_length=64, pattern="^[0-9a-f]+$", description="As it was given at the beginning")]

_STATUS = {
    "unknown": 404,
    "folder": 422,
    "name": 422,
    "hash": 422,
    "empty": 422,
    "offset": 409,
    "busy": 409,
    "large": 413,
    "many": 429,
    "full": 507,
    "offline": 503,
}


def declined(error: UploadError) -> Declined:
    """*error* as an answer."""
    return Declined(_STATUS.get(error.kind, 409), f"upload_{error.kind}", str(error))


def _uploads(request: Request) -> Uploads:
    return site_of(request).uploads


@router.post("", status_code=201, summary="Begin to send a recording")
def begin(request: Request, wanted: UploadRequest, response: Response) -> UploadShape:
    """The answer says where its bytes are to go. One to which nothing is added for a day is removed."""
    site = site_of(request)
    try:
        choices = asked.checked(wanted.options, site.config())
        place = place_of(wanted.folder, site.inboxes())
        if place is None:
            raise UploadError("folder", "folder must be the whole path of an inbox, or of a folder in one")
        sent = Wanted(*place, wanted.name, wanted.size_bytes, wanted.sha256, choices)
        upload = _uploads(request).begin(sent, by(request))
    except BadChoice as error:
        raise Declined(422, "bad_option", str(error)) from error
    except UploadError as error:
        raise declined(error) from error
    response.headers["Location"] = f"/api/v1/uploads/{upload.id}"
    return UploadShape.of(upload, 0)


@router.get("", summary="Your uploads that are not in their place yet")
def mine(request: Request) -> UploadsShape:
    """To go on with them after an interruption."""
    uploads = _uploads(request)
    found: list[UploadShape] = []
    for upload in uploads.open_of(by(request)):
        try:
            found.append(UploadShape.of(upload, uploads.offset(upload)))
        except UploadError:
            continue  # its folder does not answer
    return UploadsShape(uploads=found)


@router.get("/{upload_id}", summary="How far an upload is")
def look(request: Request, upload_id: UploadId) -> UploadShape:
    """Also after its end, for a day."""
    return _shape(request, _own(request, upload_id))


@router.head("/{upload_id}", summary="Where to go on", status_code=200)
def head(request: Request, upload_id: UploadId) -> Response:
    """The headers Upload-Offset and Upload-Length."""
    upload = _own(request, upload_id)
    return Response(headers=_headers(upload, _shape(request, upload).offset))


@router.patch(
    "/{upload_id}",
    status_code=204,
    summary="Add bytes",
    openapi_extra={
        "requestBody": {"content": {OCTETS: {"schema": {"type": "string", "format": "binary"}}}, "required": True}
    },
)
async def add(
    request: Request,
    upload_id: UploadId,
    upload_offset: Annotated[int, Header(ge=0, le=2**62, description="Of the first of these bytes")],
) -> Response:
    """409 with the right Upload-Offset where other bytes are wanted. What came before an interruption counts."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != OCTETS:
        raise Declined(415, "bad_type", f"send the bytes as {OCTETS}")
    uploads = _uploads(request)
    upload = await apart(_own, request, upload_id)
    try:
        sink = await apart(uploads.add, upload, upload_offset)
        await pour(request.stream(), sink)
    except WrongOffset as error:
        return Response(status_code=409, headers={OFFSET: str(error.offset)})
    except UploadError as error:
        raise declined(error) from error
    except ClientDisconnect:
        return Response(status_code=400)  # nobody reads it
    return Response(status_code=204, headers=_headers(upload, sink.offset))


@router.post("/{upload_id}/finish", summary="All bytes are there: put the recording in its place")
def finish(request: Request, upload_id: UploadId) -> UploadShape:
    """The answer has its path and its job. May be asked again."""
    try:
        upload = _uploads(request).finish(_own(request, upload_id))
    except WrongOffset as error:
        raise Declined(409, "upload_offset", f"the upload is not whole: it goes on at byte {error.offset}") from error
    except UploadError as error:
        raise declined(error) from error
    return UploadShape.of(upload, upload.size_bytes or 0)


@router.delete("/{upload_id}", status_code=204, summary="Give an upload up")
def give_up(request: Request, upload_id: UploadId) -> Response:
    """A recording that is in its place stays."""
    try:
        _uploads(request).give_up(_own(request, upload_id))
    except UploadError as error:
        raise declined(error) from error
    return Response(status_code=204)


def _own(request: Request, upload_id: str) -> Upload:
    try:
        return _uploads(request).of(upload_id, by(request))
    except UploadError as error:
        raise declined(error) from error


def _shape(request: Request, upload: Upload) -> UploadShape:
    try:
        return UploadShape.of(upload, _uploads(request).offset(upload))
    except UploadError as error:
        raise declined(error) from error


def _headers(upload: Upload, offset: int) -> dict[str, str]:
    length = {LENGTH: str(upload.size_bytes)} if upload.size_bytes is not None else {}
    return {OFFSET: str(offset), "Cache-Control": "no-store", **length}
