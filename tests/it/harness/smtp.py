"""An SMTP server that answers by script and prints each message it takes as one line of JSON.

Its only argument is a JSON object: `tls` (none, starttls, tls), `cert` and `key` (files), `user` and
`password`, `without` (login mechanisms that it does not offer), `rcpt` and `data` (lists of answers, each used once;
empty or nothing left: 250).
The first line that it prints is its port. It ends when its standard input does.
"""

import asyncio
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult

settings = json.loads(sys.argv[1])


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        answer = scripted("rcpt")
        if answer:
            return answer
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        answer = scripted("data")
        if answer:
            return answer
        say(
            {
                "from": envelope.mail_from,
                "to": envelope.rcpt_tos,
                "data": envelope.content.decode("utf-8", "replace"),
                "tls": session.ssl is not None or settings["tls"] == "tls",
                "user": session.auth_data,
            }
        )
        return "250 taken"


def scripted(moment):
    answers = settings.get(moment) or []
    return answers.pop(0) if answers else None


def authenticate(server, session, envelope, mechanism, data):
    given = (data.login.decode(), data.password.decode())
    if given == (settings["user"], settings["password"]):
        return AuthResult(success=True, auth_data=given[0])
    return AuthResult(success=False, handled=False)


def say(what):
    print(json.dumps(what), flush=True)


async def main():
    context = None
    if settings["tls"] != "none":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(settings["cert"], settings["key"])

    def session():
        return SMTP(
            Handler(),
            hostname="it.example",
            tls_context=context if settings["tls"] == "starttls" else None,
            require_starttls=settings["tls"] == "starttls",
            authenticator=authenticate if settings.get("user") else None,
            auth_required=bool(settings.get("user")),
            auth_require_tls=settings["tls"] == "starttls",
            auth_exclude_mechanism=settings["without"],
        )

    loop = asyncio.get_running_loop()
    wrap = context if settings["tls"] == "tls" else None
    server = await loop.create_server(session, "127.0.0.1", 0, ssl=wrap)
    say(server.sockets[0].getsockname()[1])
    await loop.run_in_executor(None, sys.stdin.read)


asyncio.run(main())
