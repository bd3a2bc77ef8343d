"""Uploads that become models."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.encoders import jsonable_encoder
from fastapi.responses import JSONResponse
from starlette.datastructures import UploadFile

from engine.files import write_error
from engine.server import schemas
from engine.server.encoders import check_encoder
from engine.server.gate import CALLER
from engine.server.json_bodies import json_to
from engine.server.problems import Refused
from engine.server.routes.problems import PROBLEMS, TOLD
from engine.server.searching import FORM
from engine.server.served import Served

UPLOADS = "/v1/ingest"
INGEST_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            FORM: {
                "schema": {
                    "type": "object",
                    "required": ["details", "file"],
                    "properties": {
                        "details": {"type": "string", "description": "The JSON of an Ingest."},
                        "file": {"type": "string", "format": "binary"},
                    },
                }
            }
        },
    }
}


def add_uploads(app: FastAPI, served: Served) -> None:
    """Uploads that become models."""
    engine, limits, gate, held, jobs = served.engine, served.limits, served.gate, served.held, served.jobs

    @app.post(UPLOADS, response_model=schemas.Job, status_code=202, tags=["ingest"], openapi_extra=INGEST_BODY, **TOLD)
    async def ingest(request: Request) -> Any:
        """Upload a model's samples: pictures in a .zip or .tar, or a .npy or .npz of features or moments.

        It is ingested beside the searches; the answer is the job to ask for progress.
        """
        try:
            with held.upload(CALLER.get()):
                await request.form(max_files=1, max_fields=4)
            async with request.form() as form:  # what has come is kept with the request
                details, file = form.get("details"), form.get("file")
                if not isinstance(details, str) or not isinstance(file, UploadFile):
                    raise Refused(422, "InvalidRequest", "a form has details, as JSON text, and file, an upload")
                said = json_to(schemas.Ingest, details, limits.values)
                said.encoder = await gate.run(check_encoder, engine, said.encoder, may_be_new=True)
                job = await gate.run(jobs.submit, said, file.filename or "", file.file)
        except OSError as error:  # the form's own files
            raise write_error("the upload cannot be kept", error, hint="make room on the server") from error
        return JSONResponse(
            jsonable_encoder(job.to_json()), 202, {"Location": f"{UPLOADS}/{job.id}"}
        )  # fmt: skip

    @app.get(UPLOADS, response_model=schemas.JobList, tags=["ingest"], **TOLD)
    async def list_jobs() -> Any:
        """Uploads that wait or run, and those that ended lately."""
        return {"jobs": [job.to_json() for job in jobs.all()]}

    @app.get(UPLOADS + "/{job_id}", response_model=schemas.Job, tags=["ingest"], **TOLD)
    async def job_progress(job_id: str) -> Any:
        """How far an upload is."""
        return jobs.get(job_id).to_json()

    @app.delete(
        UPLOADS + "/{job_id}", response_model=schemas.Job, tags=["ingest"],
        responses={**PROBLEMS, 204: {"description": "It had ended, and is forgotten."}},
    )  # fmt: skip
    async def cancel_job(job_id: str) -> Any:
        """Cancel an upload: nothing of it is written. One that has ended is forgotten."""
        job = await gate.run(jobs.cancel, job_id)
        return Response(status_code=204) if job is None else job.to_json()
