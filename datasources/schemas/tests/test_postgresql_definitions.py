"""Tests of the keys, indexes and tables of PostgreSQL, compared with its own definitions."""

import re
from contextlib import closing

import psycopg
from django.test import SimpleTestCase
from psycopg.sql import Identifier

from datasources.connections.testing.postgresql import (
    DATABASE,
    OlderPostgreSQLServer,
    PostgreSQLServer,
)
from datasources.schemas.reading.catalogue import Column, ForeignKey, Index, PrimaryKey
from datasources.schemas.reading.readers.postgresql import SINCE, PostgreSQLReader, for_version
from datasources.schemas.reading.testing import read_postgresql, tables_in
from datasources.schemas.snapshots.changes import changes_of_table

EXTENSIONS = "".join(
    f"CREATE EXTENSION {name};"
    for name in ("bloom", "btree_gin", "btree_gist", "citext", "hstore", "ltree", "pg_trgm")
)
TABLES = """
CREATE COLLATION plain (provider = libc, locale = 'C');
CREATE SCHEMA other;
CREATE COLLATION other.plain (provider = libc, locale = 'C');
CREATE FUNCTION other.twice(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 2 * $1';
CREATE TYPE mood AS ENUM ('ok', 'bad');
CREATE DOMAIN code AS varchar(10) COLLATE plain;
CREATE TABLE items (
    gone int, id int NOT NULL, parent int, "Weird ""name" text, n name, v varchar(20), c char(3),
    code code, ci citext, tags text[], j jsonb, h hstore, path ltree, m mood, ip inet, net cidr,
    during tsrange, at timestamptz, deleted_at timestamptz, place point, area box, body tsvector,
    latin text COLLATE plain, b bit(3), u uuid, "select" int
);
ALTER TABLE items DROP gone;
"""
INDEXES = """
CREATE INDEX i01 ON items (id);
CREATE UNIQUE INDEX i02 ON items (id) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX i03 ON items (id, parent) INCLUDE (v, "Weird ""name") WHERE id > 5 AND v <> 'x';
CREATE INDEX i04 ON items (id DESC, parent ASC NULLS FIRST, v DESC NULLS LAST, c NULLS LAST);
CREATE INDEX i05 ON items ("Weird ""name", "select", n);
CREATE INDEX i06 ON items (lower(v), (id + parent), (v || 'x'), other.twice(id), coalesce(v, c));
CREATE INDEX i07 ON items ((CASE WHEN id > 1 THEN 'a' ELSE 'b' END), (j ->> 'k'), ((j -> 'k')));
CREATE INDEX i08 ON items USING hash (v);
CREATE INDEX i09 ON items USING gin (tags);
CREATE INDEX i10 ON items USING gin (j jsonb_path_ops) WITH (fastupdate = off);
CREATE INDEX i11 ON items USING gin (j);
CREATE INDEX i12 ON items USING gist (place, area);
CREATE INDEX i13 ON items USING spgist (place kd_point_ops);
CREATE INDEX i14 ON items USING spgist (place);
CREATE INDEX i15 ON items USING brin (at timestamptz_minmax_multi_ops (values_per_range = 16))
    WITH (pages_per_range = 32);
CREATE INDEX i16 ON items USING brin (at);
CREATE INDEX i17 ON items USING gist (path gist_ltree_ops (siglen = 100));
CREATE INDEX i18 ON items USING gist (path);
CREATE INDEX i19 ON items USING gin (v gin_trgm_ops, id);
CREATE INDEX i20 ON items USING gist ("Weird ""name" gist_trgm_ops (siglen = 32));
CREATE INDEX i21 ON items (v varchar_pattern_ops, c bpchar_pattern_ops,
    "Weird ""name" text_pattern_ops);
CREATE INDEX i22 ON items (v COLLATE "C", latin, latin COLLATE "C",
    lower(v) COLLATE other.plain DESC);
CREATE INDEX i23 ON items (code, ci, m, ip, net, u, during, tags, b);
CREATE INDEX i24 ON items (ci text_ops, ip inet_ops, net inet_ops);
CREATE INDEX i25 ON items USING bloom (id, parent) WITH (length = 100, col1 = 4);
CREATE INDEX i26 ON items USING gist (body tsvector_ops (siglen = 64), during);
CREATE INDEX i27 ON items (id) WITH (fillfactor = 70, deduplicate_items = off);
CREATE INDEX i28 ON items USING gin (h, ip);
CREATE UNIQUE INDEX i29 ON items (id, at) INCLUDE (m) NULLS NOT DISTINCT;
CREATE INDEX i30 ON items (lower(v) varchar_pattern_ops DESC NULLS LAST) WHERE m = 'ok';
ALTER TABLE items ADD CONSTRAINT i31 UNIQUE (id, v);
ALTER TABLE items ADD CONSTRAINT i32 UNIQUE (id, c) INCLUDE (m) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE items ADD CONSTRAINT i33 UNIQUE (u) DEFERRABLE;
ALTER TABLE items ADD CONSTRAINT i34 UNIQUE NULLS NOT DISTINCT (u, id);
ALTER TABLE items ADD CONSTRAINT i35 EXCLUDE USING gist (id WITH =, during WITH &&)
    INCLUDE (m) WHERE (deleted_at IS NULL);
ALTER TABLE items ADD CONSTRAINT i36 EXCLUDE USING gist (id WITH <>, (lower(v)) WITH =) DEFERRABLE;
ALTER TABLE items ADD CONSTRAINT i37 EXCLUDE (id DESC WITH =, lower(v) WITH =)
    WITH (fillfactor = 80) INITIALLY DEFERRED;
"""
NEWER_INDEXES = """
ALTER TABLE items ADD CONSTRAINT i41 UNIQUE (id, during WITHOUT OVERLAPS);
ALTER TABLE items ADD CONSTRAINT i42 UNIQUE (id, during WITHOUT OVERLAPS) DEFERRABLE;
"""
KEYS = """
CREATE SCHEMA other;
CREATE TABLE plain (id int PRIMARY KEY, a int, b int, UNIQUE (a, b));
CREATE TABLE other.including (
    a int, "B c" int, d int, e int, PRIMARY KEY (d, a) INCLUDE ("B c", e)
);
CREATE TABLE deferred (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE deferrable_ (id int PRIMARY KEY DEFERRABLE);
CREATE TABLE referring (
    a int, b int, c int, d int,
    CONSTRAINT k01 FOREIGN KEY (a) REFERENCES plain,
    CONSTRAINT k02 FOREIGN KEY (a) REFERENCES plain ON DELETE CASCADE ON UPDATE SET NULL,
    CONSTRAINT k03 FOREIGN KEY (a) REFERENCES plain ON DELETE RESTRICT ON UPDATE SET DEFAULT,
    CONSTRAINT k04 FOREIGN KEY (a, b) REFERENCES plain (a, b) MATCH FULL,
    CONSTRAINT k05 FOREIGN KEY (b, a) REFERENCES plain (a, b) DEFERRABLE INITIALLY DEFERRED,
    CONSTRAINT k06 FOREIGN KEY (a) REFERENCES plain DEFERRABLE,
    CONSTRAINT k07 FOREIGN KEY (a, b) REFERENCES plain (a, b) ON DELETE SET NULL (b),
    CONSTRAINT k08 FOREIGN KEY (a, b) REFERENCES plain (a, b) ON DELETE SET DEFAULT (b, a),
    CONSTRAINT k09 FOREIGN KEY (c, d) REFERENCES other.including (d, a)
);
ALTER TABLE referring ADD CONSTRAINT k10 FOREIGN KEY (a) REFERENCES plain NOT VALID;
"""
NEWER_KEYS = """
CREATE TABLE periods (id int4range, at tsrange, PRIMARY KEY (id, at WITHOUT OVERLAPS));
CREATE TABLE within (
    id int4range, at tsrange,
    CONSTRAINT k11 FOREIGN KEY (id, PERIOD at) REFERENCES periods (id, PERIOD at)
);
ALTER TABLE referring ADD CONSTRAINT k12 FOREIGN KEY (a) REFERENCES plain NOT ENFORCED;
"""
DEFINITIONS = ("pg_get_indexdef", "pg_get_constraintdef")
OPTIONS = re.compile(r"(NULLS NOT DISTINCT)? ?(WITH \(.*?\))? ?(DEFERRABLE.*)?")


class DefinitionTests:
    """Tests of a server; `version` is its major version."""

    server_class: type[PostgreSQLServer]
    version: int

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server = cls.enterClassContext(cls.server_class())

    def setUp(self):
        self.server.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        self.server.execute(f"CREATE DATABASE {DATABASE} TEMPLATE template0")
        self.connection = psycopg.connect(self.server.uri, dbname=DATABASE, autocommit=True)
        self.addCleanup(self.connection.close)

    def run_script(self, script):
        self.connection.execute(script)

    def read(self, **facts):
        return tables_in(read_postgresql(self.server.port, **facts))

    def definition(self, function, name):
        catalogue = "class" if function == "pg_get_indexdef" else "constraint"
        key = {"class": "relname", "constraint": "conname"}[catalogue]
        statement = f"SELECT {function}(oid) FROM pg_{catalogue} WHERE {key} = %s"
        [[text]] = self.connection.execute(statement, [name]).fetchall()
        return text

    def rebuild(self, index, columns):
        """Create a copy of an index of `items` from its members; return its definitions."""

        def part(name):
            return Identifier(name).as_string() if name in columns else f"({name})"

        parts = ", ".join(
            f"{part(column)} {option}"
            for column, option in zip(index["columns"], index["column_options"], strict=True)
        )
        included = ", ".join(map(part, index["included_columns"]))
        include = f"INCLUDE ({included})" if included else ""
        where = f"WHERE ({index['predicate']})" if index["predicate"] else ""
        nulls, storage, deferral = OPTIONS.fullmatch(index["options"] or "").groups(default="")
        if " WITH " in parts:
            kind = f"EXCLUDE USING {index['method']}"
        elif deferral or " WITHOUT " in parts:
            kind = f"UNIQUE {nulls}"
        else:
            self.run_script(
                f"CREATE {'UNIQUE' * index['is_unique']} INDEX copy ON items"
                f" USING {index['method']} ({parts}) {include} {nulls} {storage} {where}"
            )
            text = self.definition("pg_get_indexdef", "copy")
            self.run_script("DROP INDEX copy")
            return [text]
        self.run_script(
            f"ALTER TABLE items ADD CONSTRAINT copy {kind} ({parts}) {include} {storage} {where}"
            f" {deferral}"
        )
        texts = [self.definition(name, "copy") for name in DEFINITIONS]
        self.run_script("ALTER TABLE items DROP CONSTRAINT copy")
        return texts

    def test_indexes_can_be_rebuilt_from_what_is_read(self):
        self.run_script(EXTENSIONS + TABLES + INDEXES)
        if self.version >= 18:
            self.run_script(NEWER_INDEXES)
        items = self.read()["items"]
        columns = {column["name"] for column in items["columns"]}
        names = [index["name"] for index in items["indexes"]]
        self.assertEqual(names, sorted(set(names)))
        self.assertEqual(len(names), 37 + 2 * (self.version >= 18))
        by_name = {index["name"]: index for index in items["indexes"]}
        self.assertEqual(by_name["i05"]["column_options"], ["", "", ""])
        deferrable = {name for name in names if "DEFERRABLE" in (by_name[name]["options"] or "")}
        statement = "SELECT conname FROM pg_constraint WHERE condeferrable AND conname LIKE 'i%'"
        self.assertEqual(deferrable, {name for [name] in self.connection.execute(statement)})
        for index in items["indexes"]:
            with self.subTest(index["name"]):
                copies = self.rebuild(index, columns)
                for function, copy in zip(DEFINITIONS, copies, strict=False):
                    self.assertEqual(
                        copy.replace(" copy ", f" {index['name']} "),
                        self.definition(function, index["name"]),
                    )

    def test_keys_have_all_of_their_definitions(self):
        self.run_script(KEYS)
        if self.version >= 18:
            self.run_script(NEWER_KEYS)
        count = 0
        for table in self.read().values():
            if table["primary_key"]:
                count += 1
                key = table["primary_key"]
                columns, options = quoted(key["columns"]), key["options"] or ""
                is_temporal = options.startswith("WITHOUT OVERLAPS")
                text = f"PRIMARY KEY ({columns}{' ' * is_temporal}".rstrip("|")
                text += f"{options})" if is_temporal else f") {options}".rstrip()
                self.assertEqual(text, self.definition("pg_get_constraintdef", key["name"]))
            for key in table["foreign_keys"]:
                count += 1
                with self.subTest(key["name"]):
                    self.assertEqual(
                        spelled(key), self.definition("pg_get_constraintdef", key["name"])
                    )
        self.assertEqual(count, 14 + 3 * (self.version >= 18))

    def change_between(self, before, after):
        """Return the only change of the table `t` that a script makes."""
        self.run_script(f"DROP TABLE IF EXISTS t, other CASCADE; {before}")
        old = self.read()["t"]
        self.run_script(after)
        [change] = changes_of_table(old, self.read()["t"])
        return change

    def test_primary_key_made_anew_with_storage_parameters_has_changed(self):
        table = "CREATE TABLE t (a int, b int, CONSTRAINT p PRIMARY KEY (a) INCLUDE (b) {});".format
        with_parameters = "WITH (fillfactor = 50, deduplicate_items = off)"
        change = self.change_between(table(""), "DROP TABLE t;" + table(with_parameters))
        self.assertEqual(change["from"]["options"], "INCLUDE (b)")
        self.assertEqual(
            change["to"]["options"], "INCLUDE (b) WITH (fillfactor=50, deduplicate_items=off)"
        )

    def test_change_of_each_member_of_a_definition_is_found(self):
        index = "CREATE TABLE t (a text, b text, c text); CREATE {} INDEX i ON t {};".format
        key = (
            "CREATE TABLE other (id int PRIMARY KEY, n int UNIQUE);"
            "CREATE TABLE t (a int, b int, CONSTRAINT k FOREIGN KEY {});"
        ).format
        primary = "CREATE TABLE t (a int NOT NULL, b int NOT NULL, CONSTRAINT p PRIMARY KEY {});"
        primary = primary.format
        column = "CREATE TABLE t (a {});".format
        made_anew = "DROP TABLE IF EXISTS t, other CASCADE;"
        for kind, pairs in {
            Index: {
                "columns": (index("", "(a)"), index("", "(b)")),
                "column_options": (index("", "(a)"), index("", "(a DESC)")),
                "is_unique": (index("UNIQUE", "(a)"), index("", "(a)")),
                "method": (index("", "(a)"), index("", "USING hash (a)")),
                "included_columns": (index("", "(a)"), index("", "(a) INCLUDE (b)")),
                "predicate": (index("UNIQUE", "(a) WHERE b IS NULL"), index("UNIQUE", "(a)")),
                "options": (
                    index("UNIQUE", "(a)"),
                    index("UNIQUE", "(a) NULLS NOT DISTINCT"),
                ),
            },
            ForeignKey: {
                "columns": (key("(a) REFERENCES other"), key("(b) REFERENCES other")),
                "referred_schema": (
                    "DROP SCHEMA IF EXISTS s CASCADE; CREATE SCHEMA s;"
                    "CREATE TABLE s.other (id int PRIMARY KEY);" + key("(a) REFERENCES other"),
                    key("(a) REFERENCES s.other"),
                ),
                "referred_table": (
                    "DROP TABLE IF EXISTS third CASCADE; CREATE TABLE third (id int PRIMARY KEY);"
                    + key("(a) REFERENCES other"),
                    key("(a) REFERENCES third"),
                ),
                "referred_columns": (key("(a) REFERENCES other"), key("(a) REFERENCES other (n)")),
                "on_update": (
                    key("(a) REFERENCES other"),
                    key("(a) REFERENCES other ON UPDATE CASCADE"),
                ),
                "on_delete": (
                    key("(a) REFERENCES other ON DELETE CASCADE"),
                    key("(a) REFERENCES other ON DELETE SET NULL"),
                ),
                "options": (
                    key("(a) REFERENCES other"),
                    key("(a) REFERENCES other DEFERRABLE"),
                ),
            },
            PrimaryKey: {
                "name": (primary("(a)"), primary("(a)").replace(" p ", " q ")),
                "columns": (primary("(a, b)"), primary("(b, a)")),
                "options": (primary("(a)"), primary("(a) INCLUDE (b)")),
            },
            Column: {
                "type": (column("varchar(5)"), column("varchar(6)")),
                "common_type": (column("int"), column("text")),
                "nullable": (column("int"), column("int NOT NULL")),
                "has_default": (column("int"), column("int DEFAULT 1")),
                "default_value": (column("int DEFAULT 1"), column("int DEFAULT 2")),
                "comment": (column("int"), column("int") + "COMMENT ON COLUMN t.a IS 'x'"),
            },
        }.items():
            identity = {"name"} if kind is not PrimaryKey else set()
            self.assertEqual({*pairs} | identity, {*kind.__annotations__})
            for member, (before, after) in pairs.items():
                with self.subTest(kind.__name__, member=member):
                    change = self.change_between(before, made_anew + after)
                    self.assertEqual(change["change"], "changed")
                    self.assertIn(member, change["to"])

    def test_partial_unique_index_made_whole_is_a_change(self):
        change = self.change_between(
            "CREATE TABLE t (a int, deleted_at date);"
            "CREATE UNIQUE INDEX i ON t (a) WHERE deleted_at IS NULL",
            "DROP INDEX i; CREATE UNIQUE INDEX i ON t (a)",
        )
        self.assertEqual(
            (change["object"], change["from"], change["to"], change["breaks_readers"]),
            ("index", {"predicate": "deleted_at IS NULL"}, {"predicate": None}, False),
        )

    def test_index_that_could_not_be_built_is_shown_as_invalid(self):
        self.run_script("CREATE TABLE t (a int); INSERT INTO t VALUES (1), (1)")
        with self.assertRaises(psycopg.errors.UniqueViolation):
            self.connection.execute("CREATE UNIQUE INDEX CONCURRENTLY i ON t (a)")
        [index] = self.read()["t"]["indexes"]
        self.assertEqual((index["is_unique"], index["options"]), (True, "INVALID"))

    def test_index_is_shown_once_while_it_is_built_anew(self):
        """REINDEX CONCURRENTLY has a second index meanwhile, and leaves it if it fails."""
        self.run_script("CREATE TABLE t (a int, b int)")
        self.run_script("CREATE UNIQUE INDEX i ON t (a); CREATE UNIQUE INDEX b_ccnew ON t (b)")
        before = self.read()
        self.run_script("DROP INDEX i; INSERT INTO t VALUES (1, 1), (1, 2)")
        self.run_script("CREATE INDEX i ON t (a)")
        self.run_script("UPDATE pg_index SET indisunique = true WHERE indexrelid = 'i'::regclass")
        with self.assertRaises(psycopg.errors.UniqueViolation):
            self.run_script("REINDEX INDEX CONCURRENTLY i")
        names = self.connection.execute("SELECT relname FROM pg_class WHERE relname ~ '^i(_cc|$)'")
        self.assertEqual(sorted(names), [("i",), ("i_ccnew",)])
        self.assertEqual(self.read(), before)

    def test_generated_columns_and_identities_show_what_fills_them(self):
        self.run_script(
            "CREATE TABLE t (a int GENERATED ALWAYS AS IDENTITY, price numeric DEFAULT 1 + 1,"
            " b int GENERATED BY DEFAULT AS IDENTITY, c numeric GENERATED ALWAYS AS (price * 2)"
            " STORED, d serial, e text)"
        )
        if self.version >= 18:
            self.run_script("ALTER TABLE t ADD f int GENERATED ALWAYS AS (b + 1) VIRTUAL")
        defaults = {
            column["name"]: column["default_value"] for column in self.read()["t"]["columns"]
        }
        virtual = {"f": "GENERATED ALWAYS AS ((b + 1)) VIRTUAL"} if self.version >= 18 else {}
        self.assertEqual(
            defaults,
            {
                "a": "GENERATED ALWAYS AS IDENTITY",
                "price": "(1 + 1)",
                "b": "GENERATED BY DEFAULT AS IDENTITY",
                "c": "GENERATED ALWAYS AS ((price * (2)::numeric)) STORED",
                "d": "nextval('public.t_d_seq'::regclass)",
                "e": None,
            }
            | virtual,
        )

    def test_keys_between_partitioned_tables_are_shown_once(self):
        self.run_script(
            """
            CREATE TABLE months (id int, at date, up int, up_at date, PRIMARY KEY (id, at),
                CONSTRAINT self FOREIGN KEY (up, up_at) REFERENCES months) PARTITION BY RANGE (at);
            CREATE TABLE january PARTITION OF months
                FOR VALUES FROM ('2024-01-01') TO ('2024-02-01') PARTITION BY LIST (id);
            CREATE TABLE first PARTITION OF january FOR VALUES IN (1);
            CREATE TABLE lines (n int, id int, at date,
                CONSTRAINT of_month FOREIGN KEY (id, at) REFERENCES months) PARTITION BY LIST (n);
            CREATE TABLE line_1 PARTITION OF lines FOR VALUES IN (1);
            CREATE TABLE plain (id int, at date,
                CONSTRAINT to_month FOREIGN KEY (id, at) REFERENCES months);
            CREATE INDEX by_at ON months (at);
            """
        )
        before = read_postgresql(self.server.port)
        keys = {
            name: [(key["name"], key["referred_table"]) for key in table["foreign_keys"]]
            for name, table in tables_in(before).items()
        }
        self.assertEqual(
            keys,
            {
                "lines": [("of_month", "months")],
                "months": [("self", "months")],
                "plain": [("to_month", "months")],
            },
        )
        self.run_script(
            """
            CREATE TABLE february PARTITION OF months
                FOR VALUES FROM ('2024-02-01') TO ('2024-03-01');
            CREATE TABLE line_2 (n int, id int, at date);
            ALTER TABLE lines ATTACH PARTITION line_2 FOR VALUES IN (2);
            CREATE FOREIGN DATA WRAPPER dummy;
            CREATE SERVER elsewhere FOREIGN DATA WRAPPER dummy;
            """
        )
        self.assertEqual(read_postgresql(self.server.port).digest, before.digest)
        self.run_script("ALTER TABLE lines DETACH PARTITION line_2")
        after = self.read()
        self.assertEqual({*after} - {*tables_in(before)}, {"line_2"})
        self.assertEqual(after["line_2"]["foreign_keys"][0]["referred_table"], "months")

    def test_all_kinds_of_tables_are_read_once(self):
        self.run_script(
            """
            CREATE EXTENSION file_fdw; CREATE EXTENSION postgres_fdw;
            CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
            CREATE FOREIGN TABLE "far" (id int OPTIONS (force_not_null 'true'), note text NOT NULL
                DEFAULT 'x') SERVER files OPTIONS (filename '/nowhere.csv');
            CREATE TABLE parted (id int, note text) PARTITION BY LIST (id);
            CREATE FOREIGN TABLE far_part PARTITION OF parted FOR VALUES IN (1)
                SERVER files OPTIONS (filename '/nowhere.csv');
            CREATE UNLOGGED TABLE quick (id int PRIMARY KEY);
            CREATE TABLE base (id int PRIMARY KEY, note text NOT NULL);
            CREATE INDEX ON base (note);
            CREATE TABLE child (extra int) INHERITS (base);
            CREATE TYPE shape AS (id int, name text);
            CREATE TABLE typed OF shape (PRIMARY KEY (id));
            CREATE VIEW seen AS SELECT * FROM base;
            CREATE MATERIALIZED VIEW kept AS SELECT id FROM base;
            CREATE UNIQUE INDEX ON kept (id);
            CREATE TABLE nothing ();
            CREATE TEMPORARY TABLE passing (id int PRIMARY KEY, up int REFERENCES passing);
            CREATE TABLE pgish (id int); ALTER TABLE pgish RENAME TO pg_mine;
            CREATE SCHEMA pgsodium; CREATE TABLE pgsodium.key (id int);
            CREATE TABLE dropped (a int, b int, c int, UNIQUE (b, c));
            ALTER TABLE dropped DROP a;
            """
        )
        tables = self.read()
        self.assertEqual(
            {name: (table["kind"], len(table["columns"])) for name, table in tables.items()},
            {
                "far": ("foreign_table", 2),
                "parted": ("table", 2),
                "quick": ("table", 1),
                "base": ("table", 2),
                "child": ("table", 3),
                "typed": ("table", 2),
                "seen": ("view", 2),
                "kept": ("materialized_view", 1),
                "nothing": ("table", 0),
                "pg_mine": ("table", 1),
                "pgsodium.key": ("table", 1),
                "dropped": ("table", 2),
            },
        )
        self.assertEqual(tables["kept"]["indexes"][0]["columns"], ["id"])
        self.assertEqual(tables["dropped"]["indexes"][0]["columns"], ["b", "c"])
        self.assertEqual(tables["typed"]["primary_key"]["columns"], ["id"])
        self.assertIsNone(tables["child"]["primary_key"])
        [column] = [column for column in tables["far"]["columns"] if column["name"] == "note"]
        self.assertEqual((column["nullable"], column["default_value"]), (False, "'x'::text"))

    def test_statements_do_not_depend_on_the_number_of_tables(self):
        counts = []
        for number in (1, 30):
            for name in range(number):
                self.run_script(
                    f"CREATE TABLE t{number}_{name} (id int PRIMARY KEY, n text UNIQUE DEFAULT 'x')"
                )
            with closing(psycopg.connect(self.server.uri, dbname=DATABASE)) as connection:
                executed = []

                class Counting(psycopg.Cursor):
                    def execute(self, query, *args, **kwargs):
                        executed.append(query)  # noqa: B023
                        return super().execute(query, *args, **kwargs)

                connection.cursor_factory = Counting
                read_all(connection)
                counts.append(len(executed))
        self.assertEqual(counts[0], counts[1])


def quoted(names):
    return ", ".join(
        name if name.islower() and name.isalnum() else Identifier(name).as_string()
        for name in names
    )


def spelled(key):
    """Return a foreign key as PostgreSQL spells it."""
    options = key["options"] or ""
    columns, referred = quoted(key["columns"]), quoted(key["referred_columns"])
    if "PERIOD" in options:
        columns, referred = (
            "PERIOD ".join(text.rsplit(" ", 1)[i] + " " * (1 - i) for i in (0, 1))
            for text in (columns, referred)
        )
        options = options.replace("PERIOD", "").strip()
    schema = "" if key["referred_schema"] == "public" else f"{key['referred_schema']}."
    text = f"FOREIGN KEY ({columns}) REFERENCES {schema}{key['referred_table']}({referred})"
    if options.startswith("MATCH FULL"):
        text, options = f"{text} MATCH FULL", options.removeprefix("MATCH FULL").strip()
    for event in ("update", "delete"):
        action = key[f"on_{event}"]
        if action != "no_action" and f"ON {event.upper()}" not in options:
            text += f" ON {event.upper()} {action.replace('_', ' ').upper()}"
    return f"{text} {options}".rstrip()


def read_all(connection):
    from datasources.connections.configuration import Configuration
    from datasources.schemas.reading.assembly import Assembly

    return [*Assembly(PostgreSQLReader(connection, Configuration("postgresql"))).tables()]


class PostgreSQLDefinitionTests(DefinitionTests, SimpleTestCase):
    """PostgreSQL 18."""

    server_class = PostgreSQLServer
    version = 18

    def test_not_null_that_is_not_validated_does_not_exclude_nulls(self):
        self.run_script("CREATE TABLE t (a int, b int NOT NULL); INSERT INTO t VALUES (NULL, 1)")
        self.run_script("ALTER TABLE t ADD CONSTRAINT n NOT NULL a NOT VALID")
        a, b = self.read()["t"]["columns"]
        self.assertEqual((a["nullable"], b["nullable"]), (True, False))
        self.run_script("UPDATE t SET a = 1; ALTER TABLE t VALIDATE CONSTRAINT n")
        self.assertFalse(self.read()["t"]["columns"][0]["nullable"])


class OlderPostgreSQLDefinitionTests(DefinitionTests, SimpleTestCase):
    """PostgreSQL 15."""

    server_class = OlderPostgreSQLServer
    version = 15


class VersionTests(SimpleTestCase):
    def test_statements_name_only_columns_that_a_server_has(self):
        statements = [
            getattr(PostgreSQLReader, f"{kind}_sql")
            for kind in ("relations", "columns", "primary_keys", "foreign_keys", "indexes")
        ]
        for column, (first_version, _) in SINCE.items():
            with self.subTest(column):
                self.assertTrue(any(column in statement for statement in statements))
                for statement in statements:
                    self.assertEqual(
                        for_version(statement, first_version).count(column), statement.count(column)
                    )
                    self.assertNotIn(column, for_version(statement, first_version - 1))
