# Functions: Docker on a machine that has none, and reaches no registry of images. They need bash with -e, and $work.

docker_started= # the process of the daemon that was started here
docker_made=()  # the images that were made here, and would be taken for the official ones later

docker_up() {
  if ! { command -v docker && { command -v docker-compose || docker compose version; }; } >/dev/null 2>&1; then
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y docker.io docker-compose; } \
      >"$work/apt.log" 2>&1 || { cat "$work/apt.log"; return 1; }
  fi
  docker version >/dev/null 2>&1 && return # one runs already
  dockerd >"$work/dockerd.log" 2>&1 &
  docker_started=$!
  for _ in {1..60}; do
    docker version >/dev/null 2>&1 && return
    sleep 0.5
  done
  cat "$work/dockerd.log"
  return 1
}

docker_down() {
  [ "${#docker_made[@]}" -eq 0 ] || docker rmi --force "${docker_made[@]}" >/dev/null || true
  [ -z "$docker_started" ] || { kill "$docker_started" && wait "$docker_started"; } || true
}

# Shopify's image is these two programs and this configuration.
toxiproxy_image() { # folder with server and cli, which must be static
  local image=ghcr.io/shopify/toxiproxy:2.12.0
  docker run --rm --pull never --entrypoint /toxiproxy-cli "$image" --version >/dev/null 2>&1 && return
  mkdir "$work/toxiproxy"
  cp "$1/server" "$work/toxiproxy/toxiproxy"
  cp "$1/cli" "$work/toxiproxy/toxiproxy-cli"
  tar -C "$work/toxiproxy" -c toxiproxy toxiproxy-cli | docker import \
    --change 'ENTRYPOINT ["/toxiproxy"]' --change 'CMD ["-host=0.0.0.0"]' --change 'EXPOSE 8474' \
    --change 'ENV LOG_LEVEL=info' - "$image"
}

# In place of the official slim image: an interpreter of this machine, with the libraries that it needs, a shell and
# pip, and with the way to the package index that pip takes here.
python_image() { # interpreter, environment with pip
  local version stdlib root="$work/python" image key value
  version=$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  stdlib=$("$1" -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')
  image=python:$version-slim
  docker image inspect "$image" >/dev/null 2>&1 && return
  if [ "$("$1" -c 'import sysconfig; print(sysconfig.get_default_scheme())')" != posix_prefix ]; then
    echo "$1 installs to places of its distribution; for $image CI needs a Python as its makers build it" >&2
    return 1
  fi

  local home="$root/usr/local/lib/python$version"
  mkdir -p "$home/site-packages" "$root/usr/local/bin" "$root/bin" "$root/etc" "$root/tmp"
  chmod 1777 "$root/tmp"
  tar -C "$stdlib" --exclude=./site-packages --exclude=./dist-packages --exclude=./test --exclude='./config-*' \
    --exclude=__pycache__ --exclude='_tkinter*' -c . | tar -C "$home" -x
  cp -r "$2/lib/python$version/site-packages/pip" "$home/site-packages/"
  cp "$(realpath "$("$1" -c 'import sys; print(sys._base_executable)')")" "$root/usr/local/bin/python$version"
  ln -s "python$version" "$root/usr/local/bin/python"
  ln -s "python$version" "$root/usr/local/bin/python3"
  printf '#!/bin/sh\nexec python -m pip "$@"\n' >"$root/usr/local/bin/pip"
  chmod +x "$root/usr/local/bin/pip"
  cp "$(realpath /bin/sh)" "$root/bin/sh"
  local libraries # all in one place, which any user may read; the loader where programs name it
  libraries=$(ldd "$root/bin/sh" "$root/usr/local/bin/python$version" "$home"/lib-dynload/*.so |
    grep -o '/[^ ]*\.so[^ ]*' | grep -v ':$' | sort -u)
  cp -L -t "$root/usr/local/lib" $libraries
  cp -L --parents -t "$root" $(grep '/ld-' <<<"$libraries")

  local changes=(--change 'ENV PATH=/usr/local/bin:/bin LANG=C.UTF-8 LD_LIBRARY_PATH=/usr/local/lib')
  for key in index-url extra-index-url trusted-host cert; do
    value=$("$2/bin/pip" config list | sed -n "s/^[a-z:]*\.$key='\(.*\)'$/\1/p" | head -1)
    [ -n "$value" ] || continue
    [ "$key" != cert ] || cp -L --parents -t "$root" "$value"
    key=${key//-/_}
    changes+=(--change "ENV PIP_${key^^}=$value")
  done
  tar -C "$root" -c . | docker import "${changes[@]}" - "$image"
  docker_made+=("$image")
}
