# The reference server: wschaos.v1 at /ws, an echo at /echo, health at /healthz. In a clone of this repository:
#
#   docker build -f docker/reference-server.Dockerfile -t wschaos-reference-server .
#   docker run --rm -p 127.0.0.1:8765:8765 -e WSCHAOS_TOKEN=secret wschaos-reference-server
#
# Options of `wschaos reference-server` go at the end of that line; `--help` there tells of the environment, too.
ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS build
COPY . /source
RUN pip install --no-cache-dir --prefix=/installed /source

FROM python:${PYTHON}-slim
COPY --from=build /installed /usr/local
# It writes nothing, so any user will do: a number needs no account, and Kubernetes sees that it is not root.
USER 65532:65532
# Port and health check have it from here; `--port` would change only the one.
ENV WSCHAOS_PORT=8765
EXPOSE 8765
# Until it drains, it answers 200 (then 503, which urlopen raises).
HEALTHCHECK --interval=5s --timeout=3s --start-period=20s --retries=3 CMD ["python", "-c", "\
from os import environ; from urllib.request import urlopen; \
urlopen('http://127.0.0.1:' + environ['WSCHAOS_PORT'] + '/healthz', timeout=2)"]
# No shell between, so that SIGTERM drains it. That may take 30 s: `docker stop --time 40`.
ENTRYPOINT ["wschaos", "reference-server", "--host", "0.0.0.0"]
