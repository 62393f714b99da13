"""A router that speaks UPnP, for tests: run as a program in the namespace of a router of `nat_network`.

    fake_gateway.py HOST EXTERNAL [CODE]

It answers at HOST, says that EXTERNAL is its own address, and passes ports on by iptables; with CODE it
refuses to pass on the port that is asked for first, by that error.
"""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

SEARCHES = "239.255.255.250", 1900
SERVICE = "urn:schemas-upnp-org:service:WANIPConnection:1"
DEVICE = "urn:schemas-upnp-org:device:InternetGatewayDevice:1"
DESCRIPTION = f"""<?xml version="1.0"?><root xmlns="urn:schemas-upnp-org:device-1-0"><device>
<deviceType>{DEVICE}</deviceType><serviceList><service>
<serviceType>urn:schemas-upnp-org:service:Layer3Forwarding:1</serviceType><controlURL>/other</controlURL>
</service></serviceList><deviceList><device><serviceList><service><serviceType>{SERVICE}</serviceType>
<controlURL>/control</controlURL></service></serviceList></device></deviceList></device></root>"""


def found(url: str) -> bytes:
    """A router's answer to a search."""
    return f"HTTP/1.1 200 OK\r\nST: {DEVICE}\r\nLOCATION: {url}\r\nCACHE-CONTROL: max-age=60\r\n\r\n".encode()


def envelope(body: str) -> str:
    start = '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>'
    return f"{start}{body}</s:Body></s:Envelope>"


def fault(code: str) -> str:
    detail = f"<detail><UPnPError><errorCode>{code}</errorCode></UPnPError></detail>"
    return envelope(f"<s:Fault><faultcode>s:Client</faultcode>{detail}</s:Fault>")


class _Handler(BaseHTTPRequestHandler):
    external = ""
    code = ""

    def do_GET(self) -> None:
        self._say(200, DESCRIPTION)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        action = self.headers["SOAPAction"].strip('"').partition("#")[2]
        print(action, *_fields(body).values(), flush=True)  # noqa: T201
        match action:
            case "GetExternalIPAddress":
                address = f"<NewExternalIPAddress>{self.external}</NewExternalIPAddress>"
                self._say(200, envelope(address))
            case "AddPortMapping" if _Handler.code:
                self._say(500, fault(_Handler.code))
                _Handler.code = ""
            case "AddPortMapping":
                _pass_on("-A", _fields(body))
                self._say(200, envelope("<u:AddPortMappingResponse xmlns:u='a'/>"))
            case _:
                self._say(200, envelope(""))

    def _say(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *arguments: object) -> None: ...


def _fields(body: str) -> dict[str, str]:
    return dict(re.findall(r"<New(\w+)>([^<]*)<", body))


def _pass_on(how: str, fields: dict[str, str]) -> None:
    outer, inner = fields["ExternalPort"], (fields["InternalClient"], fields["InternalPort"])
    port = ["-i", "eth0", "-p", "tcp", "--dport"]
    to = ["-j", "DNAT", "--to", ":".join(inner)]
    subprocess.run(["iptables", "-w", "-t", "nat", how, "PREROUTING", *port, outer, *to], check=True)
    subprocess.run(["iptables", "-w", how, "FORWARD", *port, inner[1], "-j", "ACCEPT"], check=True)


def _answer_searches(host: str, url: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as searches:
        searches.bind(("", SEARCHES[1]))
        joined = socket.inet_aton(SEARCHES[0]) + socket.inet_aton(host)
        searches.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, joined)
        while True:
            data, sender = searches.recvfrom(2048)
            if DEVICE.encode() in data:
                searches.sendto(found(url), sender)


def main(host: str, external: str, code: str = "") -> None:
    _Handler.external, _Handler.code = external, code
    server = HTTPServer((host, 0), _Handler)
    url = f"http://{host}:{server.server_address[1]}/description.xml"
    threading.Thread(target=_answer_searches, args=(host, url), daemon=True).start()
    print("ready", flush=True)  # noqa: T201
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
