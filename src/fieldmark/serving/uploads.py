"""Stand-in until the guard's own."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Upload:
    name: str
    content: bytes


class Budget:
    def __init__(self, total_bytes):
        self.total = total_bytes


async def read_uploads(request, limits, budget):
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        form = await request.form(max_files=limits.files)
        return [Upload(part.filename or "", await part.read()) for part in form.getlist("files")]
    return [Upload("", await request.body())]
