"""Signs in to a local system by the link in its mail and prints the session's token: sign_in.py URL ADDRESS."""

import json
import re
import sys
import time
import urllib.request


def call(url, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.read(), answer.headers


def main():
    base, address = sys.argv[1:]
    call(f"{base}/api/v1/auth/request-link", {"email": address})
    deadline = time.monotonic() + 20
    while True:
        mails = json.loads(call(f"{base}/local/mail?to={address}")[0])["items"]
        tokens = [token for mail in mails for token in re.findall(r"\?token=([\w.-]+)", mail["text"])]
        if tokens:
            break
        if time.monotonic() > deadline:
            sys.exit("no sign-in mail came")
        time.sleep(0.1)
    _, headers = call(f"{base}/api/v1/auth/verify-link", {"token": tokens[-1].rstrip(".")})
    print(re.search(r"kiln_session=([^;]+)", headers["set-cookie"])[1])


if __name__ == "__main__":
    main()
