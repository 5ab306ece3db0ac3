"""git over HTTP: clone and push through the gateway, with git's own server behind it."""

import os
import shutil
import subprocess

from processes import here


def run(report, processes):
    check = report.check
    program = shutil.which("git")
    report.title("git: clone and push over HTTP")
    if not program:
        report.say("     git is not installed: not tried")
        return
    report.say(f"     {subprocess.check_output([program, '--version'], text=True).strip()}")
    root = processes.directory / "repositories"
    root.mkdir()
    alone = {"HOME": str(processes.directory), "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0", "PATH": os.environ["PATH"]}

    def git(*arguments, at=root, token=None):
        header = ["-c", f"http.extraHeader=Authorization: Bearer {token}"] if token else []
        identity = ["-c", "user.name=Ann", "-c", "user.email=ann@example.org"]
        return subprocess.run([program, *header, *identity, *arguments], cwd=at, env=alone, capture_output=True, text=True, timeout=120)

    git("init", "--quiet", "--bare", "--initial-branch=main", "shared.git")
    _, port = processes.serve_python("git", [str(here("git_app.py")), "{port}", str(root)])
    gateway = processes.gateway(port)
    url = f"{gateway.url}/shared.git"
    # The session belongs to git, whose User-Agent is bound at its first use.
    token = gateway.issue("ann")["token"]

    refused = git("clone", url, "refused")
    check("clone without a session is refused", refused.returncode != 0 and "fatal" in refused.stderr, refused.stderr.strip().splitlines()[-1:])
    check("clone with one", git("clone", url, "work", token=token).returncode == 0)
    work = root / "work"
    # Larger than http.postBuffer: git sends it in chunks, and asks for 100-continue first.
    (work / "large").write_bytes(os.urandom(5_000_000))
    git("checkout", "--quiet", "-b", "main", at=work)
    git("add", "large", at=work)
    git("commit", "--quiet", "-m", "A large file", at=work)
    refused = git("push", "origin", "main", at=work)
    check("push without a session is refused", refused.returncode != 0, refused.stderr.strip().splitlines()[-1:])
    pushed = git("push", "origin", "main", at=work, token=token)
    check("push of 5 MB with one", pushed.returncode == 0, pushed.stderr.strip().splitlines()[-1:])
    cloned = git("clone", url, "again", token=token)
    same = cloned.returncode == 0 and (root / "again" / "large").read_bytes() == (work / "large").read_bytes()
    check("a new clone has the same bytes", same)
