"""The store's tables and how a database is opened: SQLite in WAL mode by default, any SQLAlchemy URL for teams."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import JSON, Boolean, Column, Float, ForeignKey, Index, Integer, String, Table, Text
from sqlalchemy.engine import Connection, Engine

from kernelwright.memory.patience import Patience
from kernelwright.tasks.errors import HarnessError, WorkspaceError

VERSION = 3
"""Of the schema below. A store with a higher one was written by a newer Kernelwright."""

ANY = "*"
"""Backend and family of a pooled value: what an item is worth wherever it was used."""

_metadata = sa.MetaData()
_JSON = JSON(none_as_null=True)

meta = Table(
    "kernelwright",
    _metadata,
    Column("key", String(40), primary_key=True),
    Column("value", Text, nullable=False),
)

runs = Table(
    "runs",
    _metadata,
    Column("id", String(120), primary_key=True),
    Column("config", _JSON, nullable=False),
    Column("status", String(20), nullable=False),
    Column("created", String(40), nullable=False),
    # Wall time that processes have worked on it.
    Column("seconds", Float, nullable=False, server_default="0"),
)

run_tasks = Table(
    "run_tasks",
    _metadata,
    Column("run", ForeignKey("runs.id"), primary_key=True),
    Column("task", String(1000), primary_key=True),
    Column("position", Integer, nullable=False),
    Column("task_id", String(20), nullable=False),
    Column("outcome", _JSON),
    Column("record", _JSON),
)

steps = Table(
    "steps",
    _metadata,
    Column("id", String(160), primary_key=True),
    Column("run", ForeignKey("runs.id"), nullable=False),
    Column("task", String(1000), nullable=False),
    Column("task_id", String(20), nullable=False),
    Column("number", Integer, nullable=False),
    Column("stage", String(10), nullable=False),
    Column("backend", String(200)),
    Column("device", String(200)),
    # Of the answer: its calls together, where there are any.
    Column("model", String(300)),
    Column("tokens_in", Integer),
    Column("tokens_out", Integer),
    Column("cost_usd", Float),
    Column("seconds", Float),
    Column("status", String(20)),
    Column("speedup", Float),
    Column("learned", Boolean, nullable=False),
    Column("idea", _JSON, nullable=False),
    Column("context", _JSON, nullable=False),
    Column("answer", _JSON),
    Column("verdict", _JSON),
    Index("steps_of_run", "run", "task", "number"),
    Index("attempts_of_task", "task_id", "backend", "status"),
)

calls = Table(
    "calls",
    _metadata,
    Column("id", String(200), primary_key=True),
    Column("run", ForeignKey("runs.id"), nullable=False),
    Column("task", String(1000), nullable=False),
    Column("idea", String(160), nullable=False),
    Column("role", String(20), nullable=False),
    Column("model", String(300), nullable=False),
    # Hashes of artifacts.
    Column("request", String(64), nullable=False),
    Column("text", String(64), nullable=False),
    Column("problem", Text, nullable=False),
    Column("tokens_in", Integer, nullable=False),
    Column("tokens_out", Integer, nullable=False),
    Column("tokens_cached", Integer, nullable=False),
    Column("tokens_reasoning", Integer, nullable=False),
    Column("estimated", Boolean, nullable=False),
    Column("cost_usd", Float),
    Column("seconds", Float, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("created", String(40), nullable=False),
    Index("calls_of_run", "run", "task", "idea"),
)

experiences = Table(
    "experiences",
    _metadata,
    Column("id", String(200), primary_key=True),
    Column("kind", String(10), nullable=False),
    Column("stage", String(10), nullable=False),
    Column("backend", String(200), nullable=False),
    Column("device", String(200), nullable=False),
    Column("family", String(200), nullable=False),
    Column("task", String(1000), nullable=False),
    Column("status", String(20), nullable=False),
    Column("bottleneck", String(20), nullable=False),
    Column("speedup", Float),
    Column("parents", _JSON, nullable=False),
    Column("scope", String(220), nullable=False),
    Column("origin", String(300), nullable=False),
    Column("content", String(20), nullable=False),
    Column("retired", Boolean, nullable=False),
    Column("code", String(64), nullable=False),
    Column("lesson", Text, nullable=False),
    Column("text", Text, nullable=False),
    # How many attempts it stands for; what near-duplicates have in common; why it was retired and what stands for it now.
    Column("seen", Integer, nullable=False, server_default="1"),
    Column("gist", String(20), nullable=False, server_default=""),
    Column("archived", String(10), nullable=False, server_default=""),
    Column("successor", String(200), nullable=False, server_default=""),
    Column("created", String(40), nullable=False, server_default=""),
    Index("experiences_by_scope", "scope", "retired"),
    Index("experiences_by_content", "content"),
    Index("experiences_by_origin", "origin"),
    Index("experiences_by_gist", "gist", "retired"),
    Index("experiences_by_task", "task", "kind"),
    Index("experiences_by_successor", "successor"),
)

item_values = Table(
    "item_values",
    _metadata,
    Column("item", String(200), primary_key=True),
    Column("stage", String(10), primary_key=True),
    Column("backend", String(200), primary_key=True),
    Column("family", String(200), primary_key=True),
    Column("q", Float, nullable=False),
    Column("visits", Integer, nullable=False),
)

rewards = Table(
    "rewards",
    _metadata,
    Column("backend", String(200), primary_key=True),
    Column("seen", Integer, nullable=False),
    Column("mean", Float, nullable=False),
    Column("m2", Float, nullable=False),
)


def texts(tx: Connection) -> Iterator[str]:
    """Every text in the store, whatever it stands for: each value of a column of text or JSON, JSON as it is written."""
    for table in _metadata.sorted_tables:
        columns = [sa.cast(c, Text) for c in table.c if isinstance(c.type, (String, Text, JSON))]
        for row in tx.execute(sa.select(*columns), execution_options={"yield_per": 1000}):
            yield from (value for value in row if value)


def open_engine(url: str) -> Engine:
    """The database at ``url``, with the schema in place.

    Raises:
        WorkspaceError: it cannot be reached or written, is no database, is another program's, or has a newer schema.
    """
    engine = _create(url)
    try:
        with translated(engine.url), engine.execution_options(writes=True).begin() as tx:
            _ensure_schema(tx, engine.url)
    except BaseException:
        engine.dispose()
        raise
    return engine


_SCHEMA_LOCK = 0x6B77_7363
"""A number that only we lock in a database, while the schema is made or brought up to date."""

PATIENCE = 120.0
"""Seconds that a run at work waits for a database server that has gone away, such as one that is started again."""


@contextmanager
def reached(engine: Engine) -> Iterator[Connection]:
    """A connection, for which a server that is away for a while is waited for. Nothing was asked of it yet, so that nothing is
    done twice; what is cut off in the middle of a transaction fails."""
    patience = Patience(f"the store {shown(engine.url)}", 0.0 if engine.dialect.name == "sqlite" else PATIENCE)
    while True:
        try:
            connection = engine.connect()
            break
        except sa.exc.OperationalError:
            if patience.over:
                raise
            patience.wait(0.5)
    patience.rewarded()
    with connection:
        yield connection


@contextmanager
def translated(url: sa.URL) -> Iterator[None]:
    """Turn a database's own errors into ours."""
    try:
        yield
    except sa.exc.IntegrityError as error:
        raise HarnessError(f"the store refused a row: {error.orig}", "report this with the command") from error
    except sa.exc.DBAPIError as error:
        raise WorkspaceError(f"the store {shown(url)} failed: {error.orig}", _remedy(error)) from error


def _remedy(error: sa.exc.DBAPIError) -> str:
    said = str(error.orig)
    if "locked" in said:
        return "another process holds it: wait for it to end"
    if "not a database" in said or "malformed" in said:
        return "move the file away, or give another --home"
    return "check that it can be reached and written, or give another --home or --store"


def shown(url: str | sa.URL) -> str:
    """A URL without its password."""
    return sa.make_url(url).render_as_string(hide_password=True)


def _create(url: str) -> Engine:
    try:
        parsed = sa.make_url(url)
        if parsed.get_backend_name() == "sqlite" and parsed.database not in (None, "", ":memory:"):
            Path(str(parsed.database)).parent.mkdir(parents=True, exist_ok=True)
        engine = sa.create_engine(parsed, pool_pre_ping=parsed.get_backend_name() != "sqlite")
    except OSError as error:
        raise WorkspaceError(
            f"cannot make the folder of {shown(parsed)}: {error.strerror or error}", "give a writable --home"
        ) from error
    except (sa.exc.ArgumentError, ModuleNotFoundError) as error:
        raise WorkspaceError(
            f"cannot use the store {url.split('@')[-1]!r}: {error}",
            "give a SQLAlchemy URL such as sqlite:///folder/store.db, and install its driver",
        ) from error
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _prepare_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves: the driver's own begins too late
    cursor: sqlite3.Cursor = connection.cursor()
    for pragma in ("busy_timeout=30000", "journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads and then writes must hold the write lock from its start, or it fails when another writes
    # in between.
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _ensure_schema(tx: Connection, url: sa.URL) -> None:
    if tx.dialect.name == "postgresql":  # several processes may come upon an empty database at once; SQLite's begin locks it
        tx.execute(sa.select(sa.func.pg_advisory_xact_lock(_SCHEMA_LOCK)))
    present = set(sa.inspect(tx).get_table_names())
    if meta.name not in present:
        clash = sorted(present & set(_metadata.tables))
        if clash:
            raise WorkspaceError(f"{shown(url)} has a table {clash[0]!r} that is not ours", "give an empty database")
        _metadata.create_all(tx)
        rows = {"schema": str(VERSION), "store": uuid.uuid4().hex}
        tx.execute(meta.insert(), [{"key": key, "value": value} for key, value in rows.items()])
        return
    found = tx.execute(sa.select(meta.c.value).where(meta.c.key == "schema")).scalar_one_or_none()
    if found in _MIGRATIONS:
        while found in _MIGRATIONS:
            found = _MIGRATIONS[found](tx)
        tx.execute(meta.update().where(meta.c.key == "schema").values(value=found))
    elif found != str(VERSION):
        newer = found is not None and found.isdigit() and int(found) > VERSION
        raise WorkspaceError(
            f"the store {shown(url)} has schema {found}, this Kernelwright reads {VERSION}",
            "upgrade Kernelwright, or give another --home" if newer else "give another --home",
        )


def _from_1(tx: Connection) -> str:
    """Calls are kept, and how long a run was worked on. What an earlier Kernelwright wrote stays as it is.

    Another process may want to do the same at the same time: SQLite lets only one write, PostgreSQL only one hold
    :data:`_SCHEMA_LOCK`; elsewhere the loser's transaction fails and its process is started again.
    """
    calls.create(tx, checkfirst=True)
    _add_columns(tx, runs, ("seconds",))
    return "2"


def _from_2(tx: Connection) -> str:
    """Near-duplicates merge and what is evicted is archived. What is there stands for itself; retired were only seeds."""
    _add_columns(tx, experiences, ("seen", "gist", "archived", "successor", "created"))
    tx.execute(experiences.update().where(experiences.c.retired).values(archived="replaced"))
    known = {index["name"] for index in sa.inspect(tx).get_indexes(experiences.name)}
    for index in experiences.indexes:
        if index.name not in known:
            index.create(tx)
    return "3"


_MIGRATIONS = {"1": _from_1, "2": _from_2}


def _add_columns(tx: Connection, table: Table, names: tuple[str, ...]) -> None:
    known = {column["name"] for column in sa.inspect(tx).get_columns(table.name)}
    for name in names:
        if name not in known:
            # The definition as a new table has it: name, type, default, NOT NULL.
            definition = sa.schema.CreateColumn(table.c[name]).compile(dialect=tx.dialect)
            tx.exec_driver_sql(f"ALTER TABLE {table.name} ADD COLUMN {definition}")
