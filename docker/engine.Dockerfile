# The embedded engine with the command `wschaos`, in place of a Toxiproxy. In a clone of this repository:
#
#   docker build -f docker/engine.Dockerfile -t wschaos-engine .
#   docker run --rm --network host wschaos-engine --host 127.0.0.1
#
# On the host's network its proxies, whose ports are drawn, can be reached, and reach servers there. The other commands
# are there as well: docker run --rm --entrypoint wschaos wschaos-engine rules
ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS build
COPY . /source
RUN pip install --no-cache-dir --prefix=/installed /source

FROM python:${PYTHON}-slim
COPY --from=build /installed /usr/local
# It writes nothing, so any user will do: a number needs no account, and Kubernetes sees that it is not root.
USER 65532:65532
EXPOSE 8474
HEALTHCHECK --interval=5s --timeout=3s --start-period=20s --retries=3 CMD ["python", "-c", "\
from urllib.request import urlopen; urlopen('http://127.0.0.1:8474/version', timeout=2)"]
# No shell between, so that SIGTERM ends it.
ENTRYPOINT ["wschaos", "serve", "--host", "0.0.0.0"]
