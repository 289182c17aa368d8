"""Are both images built, and does what docker-compose.yml starts work in them, each service by its own command?

`make images` runs this, without a container engine: buildah builds the images, and runs each service in a chroot of its
image, with the compose file's command, variables, user and volumes, in a network of its own (docs/server.md says what
that leaves out). Where a base image cannot be fetched, a Debian 12 with the same packages takes its name.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from services import HANG_S, when
from shipped import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
PYTHON_IMAGE = re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)[0]
POSTGRES_IMAGE = COMPOSE["services"]["postgres"]["image"]
CHROOT = ["--isolation", "chroot", "--network", "host"]
NETWORK = "drsearch-images"
SPACE = """
SETTINGS = {
    "study.sampler": "grid", "images.image_px": 32, "training.epochs": 4, "training.checkpoint_every_epochs": 2,
    "finetune.when": "never",
}


def space(hp):
    hp.Choice("training.learning_rate", [1e-2, 3e-3, 1e-3, 3e-4])
"""
# What PostgreSQL's image does with these variables, for the Debian that takes its place.
POSTGRES = """
export PATH="/usr/lib/postgresql/15/bin:$PATH" PGDATA=/var/lib/postgresql/data
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    printf '%s\\n' "$POSTGRES_PASSWORD" >/tmp/password
    initdb --username=postgres --pwfile=/tmp/password --encoding=UTF8 --locale=C.UTF-8 \\
        --auth-local=trust --auth-host=scram-sha-256
    echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
    pg_ctl --wait -o "-c listen_addresses=''" start
    for script in /docker-entrypoint-initdb.d/*.sh; do sh "$script"; done
    pg_ctl --wait stop
fi
exec postgres -c listen_addresses='*'
"""
IN_POSTGRES = """
apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends postgresql-15
install --directory --owner=postgres --group=postgres --mode=700 /var/lib/postgresql/data
install --directory --owner=postgres --group=postgres --mode=775 /var/run/postgresql
mkdir --parents /docker-entrypoint-initdb.d
"""


def call(*command: object, **options: Any) -> str:
    """Standard output of a command that must succeed."""
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout.strip()


def fetched(image: str) -> bool:
    """Whether a base image is here, or can be fetched."""
    return any(
        subprocess.run(["buildah", *how, f"docker.io/library/{image}"], capture_output=True).returncode == 0
        for how in (("inspect", "--type", "image"), ("pull",))
    )


@contextlib.contextmanager
def container(image: str) -> Iterator[str]:
    """A container for a while."""
    name = call("buildah", "from", "--add-host", "postgres:127.0.0.1", "--add-host", "mlflow:127.0.0.1", image)
    try:
        yield name
    finally:
        subprocess.run(["buildah", "rm", name], capture_output=True)


def make_bases() -> None:
    """Have the images that are built upon, or what takes their place."""
    if not fetched(PYTHON_IMAGE):
        print(f"{PYTHON_IMAGE} cannot be fetched: debootstrap makes a Debian 12 in its place")
        with tempfile.TemporaryDirectory() as root, container("scratch") as name:
            packages = "python3,python3-pip,python3-venv,ca-certificates"
            call("debootstrap", "--variant=minbase", f"--include={packages}", "bookworm", root)
            for mark in Path(root).glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
                mark.unlink()
            Path(root, "usr/bin/python").symlink_to("python3")
            call("cp", "-a", f"{root}/.", call("buildah", "mount", name))
            call("buildah", "commit", name, f"docker.io/library/{PYTHON_IMAGE}")
    if not fetched(POSTGRES_IMAGE):
        print(f"{POSTGRES_IMAGE} cannot be fetched: Debian's PostgreSQL takes its place")
        with container(PYTHON_IMAGE) as name:
            call("buildah", "run", *CHROOT, name, "--", "sh", "-ec", IN_POSTGRES)
            call("buildah", "config", "--entrypoint", json.dumps(["sh", "-ec", POSTGRES]), name)
            call("buildah", "commit", name, f"docker.io/library/{POSTGRES_IMAGE}")


def build(service: str) -> str:
    """Build the image of a service as the compose file says; its name."""
    how, image = COMPOSE["services"][service]["build"], f"drsearch-images/{service}"
    machine = [f"--volume={path}:{path}:ro" for path in ("/etc/ssl/certs", "/etc/pip.conf") if os.path.exists(path)]
    file = ROOT / how["context"] / how.get("dockerfile", "Dockerfile")
    call("buildah", "bud", *CHROOT, "--layers", *machine, "--file", file, "--tag", image, ROOT / how["context"])
    return image


class Stack:
    """The services of the compose file, in containers named by service.

    Args:
        folder: The project's folder: its compose file, its `.env`, and what both name.
        images: The image of each service.
    """

    def __init__(self, folder: Path, images: dict[str, str]) -> None:
        self.folder, self._images = folder, images
        self.variables = dict(re.findall(r"^(\w+)=(.*)$", (folder / ".env").read_text(), re.MULTILINE))
        self._services: dict[str, Any] = yaml.safe_load(
            re.sub(r"\$(?:\$|\{(\w+)([^}]*)\})", self._value, self._text())
        )["services"]
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._inside = ["nsenter", f"--net=/run/netns/{NETWORK}"]
        self._names: dict[str, str] = {}
        self._open = contextlib.ExitStack()

    def __enter__(self) -> "Stack":
        call("ip", "netns", "add", NETWORK)
        self._open.callback(call, "ip", "netns", "delete", NETWORK)
        call("ip", "-n", NETWORK, "link", "set", "lo", "up")
        return self

    def __exit__(self, *_: object) -> None:
        for service in list(self._running):
            self.stop(service)
        self._open.close()

    def up(self, service: str) -> None:
        """Start a service, and return when its healthcheck says that it is healthy."""
        with self.log(service).open("ab") as log:
            self._running[service] = subprocess.Popen(
                self._command(service), stdout=log, stderr=log, start_new_session=True
            )
        if check := self._services[service].get("healthcheck"):
            command = [*self._in(service), *check["test"][1:]]
            healthy = lambda: subprocess.run(command, capture_output=True).returncode == 0  # noqa: E731
            try:
                when(healthy, f"{service} to be healthy", self._running[service])
            except AssertionError as wrong:
                raise AssertionError(f"{service}: {self.log(service).read_text()[-3000:]}") from wrong

    def run(self, service: str, *command: str) -> str:
        """`docker compose run --rm SERVICE COMMAND`: what it prints."""
        done = subprocess.run(self._command(service, *command), capture_output=True, text=True, timeout=2 * HANG_S)
        assert done.returncode == 0, f"{service}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout + done.stderr

    def wait(self, service: str) -> str:
        """Return when a started service has ended well: what it wrote."""
        code = self._running.pop(service).wait(2 * HANG_S)
        assert code == 0, f"{service}: {self.log(service).read_text()[-3000:]}"
        return self.log(service).read_text()

    def stop(self, *services: str) -> None:
        """End services as `docker compose stop` does, PostgreSQL by SIGINT as its image asks."""
        for service in services:
            process = self._running.pop(service)
            if not ended(process):
                os.killpg(process.pid, signal.SIGINT if service == "postgres" else signal.SIGTERM)
            when(lambda process=process: ended(process), f"{service} to end")

    def ask(self, url: str, user: str = "", password: str = "", body: str = "") -> Any:
        """The JSON that a published port answers: to a POST if there is a body; None if it refuses."""
        program = (
            "import requests, sys; url, user, password, body = sys.argv[1:]\n"
            "answer = requests.request('POST' if body else 'GET', url, auth=(user, password), data=body or None,\n"
            "    headers={'Content-Type': 'application/json'}, timeout=60)\n"
            "print(answer.text if answer.ok else 'null')"
        )
        return json.loads(call(*self._inside, sys.executable, "-c", program, url, user, password, body))

    def log(self, service: str) -> Path:
        """What a service writes."""
        return self.folder / f"{service}.log"

    def _text(self) -> str:
        return (self.folder / "docker-compose.yml").read_text()

    def _value(self, match: "re.Match[str]") -> str:
        if match[1] is None:
            return "$"
        return self.variables.get(match[1]) or (match[2][2:] if match[2].startswith(":-") else "")

    def _command(self, service: str, *command: str) -> list[str]:
        own = self._services[service]
        image = json.loads(call("buildah", "inspect", "--type", "image", self._images[service]))["OCIv1"]["config"]
        entry = own.get("entrypoint") or image.get("Entrypoint") or []
        return [*self._in(service), *entry, *(command or own.get("command") or image.get("Cmd") or [])]

    def _in(self, service: str) -> list[str]:
        """How a command is run in the container of a service."""
        own = self._services[service]
        if service not in self._names:
            self._names[service] = self._open.enter_context(container(self._images[service]))
        user = ["--user", own["user"]] if "user" in own else []
        variables = [f"--env={name}={value}" for name, value in own.get("environment", {}).items() if value is not None]
        mounts = [f"--volume={self._mount(service, mount)}" for mount in own.get("volumes", [])]
        name = self._names[service]
        return [*self._inside, "buildah", "run", *CHROOT, "--cap-drop=ALL", *user, *variables, *mounts, name, "--"]

    def _mount(self, service: str, mount: Any) -> str:
        if isinstance(mount, dict):
            source, target, how = mount["source"], mount["target"], ["ro"] if mount.get("read_only") else []
        else:
            source, target, *how = mount.split(":")
        if source.startswith("."):
            return ":".join([str(self.folder / source), target, *how])
        volume = self.folder / "volumes" / source
        if not volume.exists():  # a new volume takes its owner and mode from the image
            owner, mode = call("buildah", "run", *CHROOT, self._names[service], "--", "stat", "-c%u %a", target).split()
            volume.mkdir(parents=True)
            shutil.chown(volume, int(owner), int(owner))
            volume.chmod(int(mode, 8))
        return f"{volume}:{target}"


def ended(process: "subprocess.Popen[bytes]") -> bool:
    """Whether a process and all that it started have ended."""
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return True
    process.poll()  # which takes notice of its end
    return False


def project(folder: Path) -> Path:
    """A folder as docs/server.md leaves it, with a small study; no photographs yet."""
    for name in ("docker-compose.yml", ".env.example"):
        shutil.copy(ROOT / name, folder)
    for name in ("mlflow_server", "search_spaces"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (secrets,) = [line.strip() for line in (ROOT / "docs/server.md").read_text().splitlines() if "openssl" in line]
    call("sh", "-c", secrets, cwd=folder)
    with (folder / ".env").open("a") as own:
        own.write("STUDY=small\nSPACE=search_spaces/small.py\n")
    (folder / "search_spaces/small.py").write_text(SPACE)
    (folder / "users.csv").write_text("user,role,password\nrita,reader,\nstudy,researcher,STUDY_PASSWORD\n")
    for name in ("backups", "sample-eyes"):
        (folder / name).mkdir()
        shutil.chown(folder / name, 10001)
    return folder


def check_services(folder: Path, images: dict[str, str]) -> None:
    """Set a server up as docs/server.md says, search with a worker, back up, and restore."""
    with Stack(project(folder), images) as stack:
        began = time.monotonic()

        def say(text: str) -> None:
            print(f"{time.monotonic() - began:4.0f} s  {text}", flush=True)

        with container(images["study"]) as drawing:
            eyes = ["--volume", f"{folder}/sample-eyes:/eyes"]
            synthesize = ["drsearch", "synthesize", "/eyes/drawn", "--images", "60", "--seed", "1"]
            call("buildah", "run", *CHROOT, *eyes, drawing, "--", *synthesize)
        say("eyes are drawn")
        for service in ("postgres", "mlflow", "dashboard"):
            stack.up(service)
            say(f"{service} is healthy")
        assert "rita" in stack.run("users")
        say("users are made")
        stack.up("study")
        studies = "http://127.0.0.1:8080/api/studies"
        when(lambda: stack.ask(studies)["study_summaries"], "the study to be in the dashboard")
        stack.up("worker")
        ended = stack.wait("study")
        assert "study small: 4 complete; " in ended and "test evaluations: 1" in ended, ended
        say("study is over")
        assert "left study small: " in stack.wait("worker")
        say("worker has left")
        (listed,) = stack.ask(studies)["study_summaries"]
        assert listed["study_name"] == "small"
        admin = ("admin", stack.variables["MLFLOW_ADMIN_PASSWORD"])
        models = "http://127.0.0.1:5000/api/2.0/mlflow/registered-models"
        assert stack.ask(f"{models}/get?name=retinopathy", *admin)["registered_model"]["latest_versions"]
        assert stack.ask(f"{models}/get?name=retinopathy") is None, "nobody sees it without signing in"

        assert "is whole: " in stack.run("backup")
        say("backup is whole")
        (backup,) = (folder / "backups").iterdir()
        assert stack.ask(f"{models}/create", *admin, '{"name": "later"}')
        stack.stop("mlflow", "dashboard")
        assert "is restored: " in stack.run("backup", "restore", f"/backups/{backup.name}")
        stack.up("mlflow")
        assert stack.ask(f"{models}/get?name=retinopathy", *admin)["registered_model"]["latest_versions"]
        assert stack.ask(f"{models}/get?name=later", *admin) is None, "it came after the backup"
        say("backup is restored")


def test_every_service_of_the_compose_file_starts_in_its_image_and_works_with_the_others(tmp_path: Path) -> None:
    missing = [name for name in ("buildah", "debootstrap", "nsenter", "ip") if shutil.which(name) is None]
    if missing or os.geteuid() != 0:
        pytest.skip("images are NOT built: it takes root, " + "buildah, debootstrap, nsenter and ip; missing here: "
                    + (", ".join(missing) or "root"))  # fmt: skip
    make_bases()
    server, own = build("mlflow"), build("study")
    images = dict.fromkeys(COMPOSE["services"], own) | {"postgres": POSTGRES_IMAGE, "mlflow": server, "backup": server}
    check_services(tmp_path, images)
