"""Names what is in a photograph: classify.py ADDRESS PHOTO [MODEL].

edgevit_client is what openapi-python-client makes of the contract; docs/clients.md
has the command.
"""

import sys

from edgevit_client import Client
from edgevit_client.api.classify import classify
from edgevit_client.models import Problem
from edgevit_client.types import UNSET, File


def main(address: str, photo: str, model: str | None = None) -> int:
    with Client(base_url=address, timeout=30, raise_on_unexpected_status=True) as client, open(photo, "rb") as file:
        answer = classify.sync(client=client, body=File(payload=file), model=model or UNSET, top_k=3)
    if isinstance(answer, Problem):
        print(f"{answer.title}: {answer.detail} (request {answer.request_id})", file=sys.stderr)
        return 1
    for prediction in answer.predictions:
        print(f"{prediction.label:10} {prediction.probability:.1%}")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
