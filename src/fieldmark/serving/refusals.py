"""Stand-in until the guard's own."""

from starlette.responses import JSONResponse


class Refusal(Exception):
    def __init__(self, status, code, detail, hint="", headers=None):
        super().__init__(detail)
        self.status, self.code, self.detail, self.hint, self.headers = status, code, detail, hint, headers


def response(refusal):
    return JSONResponse(
        {"error": {"code": refusal.code, "detail": refusal.detail, "hint": refusal.hint}},
        refusal.status,
        headers=refusal.headers,
    )
