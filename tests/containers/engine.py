"""A Docker engine of the test's own, Compose, base images and the product's image. Linux, as root; standard library only.

Where no image can be pulled, and everywhere alike, the base images are made here: `debian:bookworm-slim` from Debian's packages,
`rust:…-slim-bookworm` from it and the Rust toolchain of this machine. The engine's data lies in the cache, so that the layer of the
dependencies is built once.
"""

import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

TESTS = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TESTS / "support"), str(TESTS / "services")]
from launcher import CACHE, Unavailable, apt_install, build_command, cached, one_at_a_time, say, spawn  # noqa: E402

PROJECT = TESTS.parent
COMPOSE_VERSION = "v2.40.3"
COMPOSE_MODULE = "github.com/docker/compose/v2/cmd"
SUITE = "bookworm"
BASE_IMAGE = "debian:bookworm-slim"
PATIENCE = 300
PATH = os.environ["PATH"] + ":/usr/sbin:/sbin"
TOOLS = {"dockerd": "docker.io", "docker": "docker.io", "debootstrap": "debootstrap", "docker-registry": "docker-registry",
         "haproxy": "haproxy", "iptables": "iptables", "ip": "iproute2", "curl": "curl", "openssl": "openssl"}


def install():
    """What the engine, its images and the suite need."""
    if sys.platform != "linux" or os.geteuid():
        raise Unavailable("containers: an engine of the test's own needs Linux and root")
    missing = sorted({package for tool, package in TOOLS.items() if not shutil.which(tool, path=PATH)})
    if missing:
        apt_install("containers", *missing)
    cached(f"compose-{COMPOSE_VERSION}", build_compose)


def build_compose(folder):
    if not shutil.which("go"):
        raise Unavailable("containers: Compose is built with Go, which is not here")
    say(f"containers: building Compose {COMPOSE_VERSION} with Go, once")
    for arguments in (["mod", "init", "compose"], ["get", f"{COMPOSE_MODULE}@{COMPOSE_VERSION}"],
                      ["build", "-trimpath", "-ldflags=-s -w", "-o", "cli-plugins/docker-compose", COMPOSE_MODULE]):
        build_command("Compose", ["go", *arguments], cwd=folder, env={**os.environ, "CGO_ENABLED": "0"})


class Engine:
    """`dockerd`, until the end of the block. `network=False`: builds use the network of the machine, and nothing of it is changed."""

    def __init__(self, folder, network=False, arguments=()):
        self.folder = pathlib.Path(folder)
        self.socket = self.folder / "docker.sock"
        self.log = self.folder / "dockerd.log"
        apart = [] if network else ["--bridge=none", "--iptables=false", "--ip-forward=false"]
        # In mounts of its own: some of its folder would stay mounted after it.
        self.command = ["unshare", "--mount", "dockerd", "--data-root", CACHE / "docker", "--exec-root", self.folder / "exec", "--pidfile",
                        self.folder / "dockerd.pid", "--host", f"unix://{self.socket}", *apart, *arguments]
        self.environment = {**os.environ, "PATH": PATH, "DOCKER_HOST": f"unix://{self.socket}", "DOCKER_BUILDKIT": "0",
                            "DOCKER_CONFIG": str(CACHE / f"compose-{COMPOSE_VERSION}")}
        self.stack = contextlib.ExitStack()

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            # Two engines would not bear the same data.
            stack.enter_context(one_at_a_time("docker"))
            with open(self.log, "wb") as log:
                process = spawn(self.command, signal.SIGTERM, env=self.environment, stdin=subprocess.DEVNULL, stdout=log,
                                stderr=log)
            stack.callback(self._end, process)
            deadline = time.monotonic() + PATIENCE
            while self.docker("version", check=False).returncode:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise Unavailable(f"containers: the engine does not start: {self.log.read_text()[-800:]}")
                time.sleep(0.1)
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *_):
        self.stack.close()

    @staticmethod
    def _end(process):
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def docker(self, *arguments, check=True, **options):
        """The client; its output, both streams in one."""
        done = subprocess.run(["docker", *map(str, arguments)], env=self.environment, stdin=options.pop("stdin", subprocess.DEVNULL),
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
        assert not check or done.returncode == 0, f"docker {' '.join(map(str, arguments))}: {done.returncode}\n{done.stdout}"
        return done

    def has(self, image):
        return self.docker("image", "inspect", image, check=False).returncode == 0

    # --- images ------------------------------------------------------------------------------------------------------

    def build(self, tag, folder, *arguments, buildkit=False, shown=False):
        """Builds an image, with the machine's network; what the builder says. The classic builder, or the engine's own BuildKit."""
        say(f"containers: building {tag}")
        # Debian's client needs no plugin for BuildKit.
        client, kind = ("/usr/bin/docker", "1") if buildkit else ("docker", "0")
        lines = []
        with subprocess.Popen([client, "build", "--network", "host", "--tag", tag, *arguments, str(folder)],
                              env={**self.environment, "DOCKER_BUILDKIT": kind}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True) as building:
            for line in building.stdout:
                lines.append(line)
                if shown:
                    print(line, end="", flush=True)
        if building.returncode:
            print("".join(lines[-200:]), flush=True)
            raise AssertionError(f"{tag} cannot be built")
        return "".join(lines)

    def base_images(self):
        """Makes the base images where they are not there yet; the arguments of a build that name them."""
        builder = self.builder_image()
        with one_at_a_time("base-images"):
            if not self.has(BASE_IMAGE):
                self._make_base()
            if not self.has(builder):
                self._make_builder(builder)
        return ["--build-arg", f"BASE_IMAGE={BASE_IMAGE}", "--build-arg", f"BUILDER_IMAGE={builder}"]

    @staticmethod
    def builder_image():
        version = subprocess.run(["rustc", "--version"], check=True, capture_output=True, text=True).stdout.split()[1]
        return f"rust:{version}-slim-bookworm"

    def _make_base(self):
        say(f"containers: making {BASE_IMAGE} from Debian's packages, once")
        root = self.folder / "debian"
        build_command("the base image", ["debootstrap", "--variant=minbase", SUITE, root], env=self.environment)
        # As the public slim image: no documentation, also of what is installed later, and no lists of packages.
        left_out = ("usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/locale", "usr/share/lintian")
        (root / "etc/dpkg/dpkg.cfg.d/slim").write_text("".join(f"path-exclude /{part}/*\n" for part in left_out))
        for part in (*left_out, "var/cache/apt/archives", "var/lib/apt/lists", "var/log"):
            shutil.rmtree(root / part, ignore_errors=True)
            (root / part).mkdir()
        for part in ("var/cache/apt/archives/partial", "var/lib/apt/lists/partial"):
            (root / part).mkdir()
        self._import(root, BASE_IMAGE)
        shutil.rmtree(root)

    def _import(self, root, tag):
        with subprocess.Popen(["tar", "--numeric-owner", "-C", root, "-c", "."], stdout=subprocess.PIPE) as packing:
            self.docker("import", "-", tag, stdin=packing.stdout)
        assert packing.returncode == 0, "the base image cannot be packed"

    def _make_builder(self, tag):
        say(f"containers: making {tag} from this machine's Rust, once")
        folder = self.folder / "builder"
        folder.mkdir()
        toolchain = subprocess.run(["rustc", "--print", "sysroot"], check=True, capture_output=True, text=True).stdout.strip()
        build_command("the builder", ["tar", "-C", toolchain, "--exclude=./share", "--exclude=./lib/rustlib/src", "-cf",
                                      folder / "rust.tar", "."])
        # What Cargo has fetched already is not fetched again.
        home = pathlib.Path(os.environ.get("CARGO_HOME") or pathlib.Path.home() / ".cargo")
        there = [name for name in ("config.toml", "registry/cache", "registry/index") if (home / name).exists()]
        build_command("the builder", ["tar", "-C", home, "-cf", folder / "cargo.tar", "-T", "/dev/null", *there])
        (folder / "Dockerfile").write_text(
            f"FROM {BASE_IMAGE}\n"
            "RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "
            "ca-certificates gcc libc6-dev\n"
            "ADD rust.tar /usr/local/rust/\n"
            "ADD cargo.tar /usr/local/cargo/\n"
            "ENV PATH=/usr/local/rust/bin:$PATH CARGO_HOME=/usr/local/cargo\n")
        self.build(tag, folder)
        shutil.rmtree(folder)

    def size(self, image):
        """Bytes of an image."""
        return int(self.docker("image", "inspect", "--format", "{{.Size}}", image).stdout)

    def copy_out(self, image, path, to):
        """A file of an image."""
        container = self.docker("create", "--network", "none", image).stdout.strip()
        try:
            self.docker("cp", f"{container}:{path}", to)
        finally:
            self.docker("rm", container)


def dependencies_layer(log):
    """Whether the layer of the dependencies came from the cache, by the words of a build."""
    step = re.search(r"^Step \d+/\d+ : RUN cargo build[^\n]*\n(.*?)^Step ", log, re.M | re.S)
    return "Using cache" in step[1]
