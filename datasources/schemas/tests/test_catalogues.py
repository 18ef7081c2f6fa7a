"""Tests of all readers, and of readers whose servers cannot be run here."""

from unittest import mock

import psycopg
from django.test import SimpleTestCase

from datasources.connections.configuration import Configuration
from datasources.connections.connectors import CONNECTORS
from datasources.connections.testing.postgresql import (
    DATABASE,
    PASSWORD,
    USERNAME,
    PostgreSQLServer,
)
from datasources.schemas.reading.assembly import Assembly
from datasources.schemas.reading.readers import READERS
from datasources.schemas.reading.readers.base import Relation, SQLReader
from datasources.schemas.reading.testing import fake_catalogue, tables_of

# Types as the server spells them, with their common types.
COMMON_TYPES = {
    "mssql": {
        "bit": "boolean",
        "int": "integer",
        "decimal(10,2)": "decimal",
        "money": "decimal",
        "float": "float",
        "nvarchar(max)": "string",
        "sysname": "string",
        "xml": "string",
        "varbinary(max)": "binary",
        "timestamp": "binary",
        "date": "date",
        "time(7)": "time",
        "datetime2(3)": "timestamp",
        "datetimeoffset(7)": "timestamp_tz",
        "uniqueidentifier": "uuid",
        "geometry": "other",
    },
    "oracle": {
        "NUMBER": "decimal",
        "NUMBER(10,0)": "integer",
        "NUMBER(*,0)": "integer",
        "NUMBER(10,2)": "decimal",
        "FLOAT(126)": "float",
        "BINARY_DOUBLE": "float",
        "VARCHAR2(50)": "string",
        "VARCHAR2(50 CHAR)": "string",
        "VECTOR": "array",
        "CLOB": "string",
        "RAW(16)": "binary",
        "BLOB": "binary",
        "DATE": "timestamp",
        "TIMESTAMP(6)": "timestamp",
        "TIMESTAMP(6) WITH TIME ZONE": "timestamp_tz",
        "TIMESTAMP(6) WITH LOCAL TIME ZONE": "timestamp_tz",
        "INTERVAL DAY(2) TO SECOND(6)": "interval",
        "INTERVAL YEAR(2) TO MONTH": "interval",
        "SDO_GEOMETRY": "other",
    },
    "clickhouse": {
        "Nullable(Int32)": "integer",
        "LowCardinality(Nullable(String))": "string",
        "SimpleAggregateFunction(sum, UInt64)": "integer",
        "Array(Nullable(String))": "array",
        "Nested(a Int8)": "array",
        "Tuple(a Int8)": "object",
        "Map(String, UInt8)": "object",
        "Decimal(9, 2)": "decimal",
        "Float64": "float",
        "Bool": "boolean",
        "Date32": "date",
        "DateTime": "timestamp_tz",
        "DateTime64(3, 'UTC')": "timestamp_tz",
        "Enum8('a' = 1)": "string",
        "IPv6": "string",
        "UUID": "uuid",
        "AggregateFunction(avg, UInt8)": "other",
        "SimpleAggregateFunction(groupUniqArrayArray(3), Array(UInt8))": "array",
        "LowCardinality(FixedString(2))": "string",
        "Nullable(Decimal(9, 2))": "decimal",
        "BFloat16": "float",
        "Int256": "integer",
        "UInt8": "integer",
        "Int8": "integer",
        "IntervalDay": "interval",
        "Time": "time",
        "Time64(3)": "time",
        "JSON(max_dynamic_paths=8)": "json",
        "Object('json')": "json",
        "QBit(Float32, 16)": "array",
        "Variant(Int8, String)": "other",
        "Dynamic": "other",
        "Point": "other",
    },
    "redshift": {
        "character varying(256)": "string",
        "numeric(18,2)": "decimal",
        "double precision": "float",
        "timestamp without time zone": "timestamp",
        "timestamp with time zone": "timestamp_tz",
        "super": "json",
        "varbyte": "binary",
        "binary varying": "binary",
        "interval day to second": "interval",
        "interval year to month": "interval",
        "character(3)": "string",
        "time with time zone": "time",
        "oid": "integer",
        "geometry": "other",
        "geography": "other",
        "hllsketch": "other",
    },
    "snowflake": {
        "NUMBER(38,0)": "integer",
        "NUMBER(10,2)": "decimal",
        "FLOAT": "float",
        "TEXT(16777216)": "string",
        "BINARY(8388608)": "binary",
        "BOOLEAN": "boolean",
        "DATE": "date",
        "TIME": "time",
        "TIMESTAMP_NTZ": "timestamp",
        "TIMESTAMP_LTZ": "timestamp_tz",
        "TIMESTAMP_TZ": "timestamp_tz",
        "VARIANT": "json",
        "OBJECT": "object",
        "ARRAY": "array",
        "GEOGRAPHY": "other",
    },
    "bigquery": {
        "INT64": "integer",
        "NUMERIC(10, 2)": "decimal",
        "BIGNUMERIC": "decimal",
        "FLOAT64": "float",
        "BOOL": "boolean",
        "STRING(10)": "string",
        "BYTES": "binary",
        "DATETIME": "timestamp",
        "TIMESTAMP": "timestamp_tz",
        "STRUCT<a INT64, b ARRAY<STRING>>": "object",
        "ARRAY<STRUCT<a INT64>>": "array",
        "JSON": "json",
        "GEOGRAPHY": "other",
    },
    "trino": {
        "varchar(10)": "string",
        "bigint": "integer",
        "decimal(10,2)": "decimal",
        "double": "float",
        "varbinary": "binary",
        "timestamp(3)": "timestamp",
        "timestamp(3) with time zone": "timestamp_tz",
        "array(varchar)": "array",
        "map(varchar, bigint)": "object",
        "row(a bigint, b array(varchar))": "object",
        "uuid": "uuid",
    },
    "databricks": {
        "string": "string",
        "bigint": "integer",
        "decimal(10,2)": "decimal",
        "timestamp": "timestamp_tz",
        "timestamp_ntz": "timestamp",
        "array<string>": "array",
        "map<string,int>": "object",
        "struct<a:int,b:array<string>>": "object",
        "binary": "binary",
    },
}


class CatalogueTests(SimpleTestCase):
    def test_every_type_has_a_reader(self):
        self.assertEqual({*READERS}, {*CONNECTORS})

    def test_types_of_each_server_have_their_common_types(self):
        for type_name, types in COMMON_TYPES.items():
            reader = READERS[type_name](None, Configuration(type_name))
            for source_type, common_type in types.items():
                with self.subTest(type_name, source_type=source_type):
                    self.assertEqual(reader.common_type(source_type), common_type)

    def test_schema_name_is_passed_as_a_parameter(self):
        name = "o'; DROP"
        for type_name, reader_class in READERS.items():
            if not issubclass(reader_class, SQLReader):
                continue
            connection = mock.MagicMock()
            connection.cursor.return_value.fetchmany.return_value = []
            connection.info.server_version = 180000  # of psycopg
            reader = reader_class(connection, Configuration(type_name, schema_name=name))
            for statement in dir(reader):
                if statement.endswith("_sql"):
                    [*reader.rows(getattr(reader, statement))]
            for call in connection.cursor.return_value.execute.call_args_list:
                with self.subTest(type_name):
                    self.assertNotIn("DROP", call.args[0])
                    self.assertNotIn("{", call.args[0])
                    self.assertIn(name, str(call.args[1]))

    def test_bigquery_dataset_must_be_a_plain_name(self):
        reader = READERS["bigquery"](None, Configuration("bigquery", schema_name="a`.b"))
        self.assertEqual((reader.datasets(), reader.has_schema()), ([], False))

    def test_columns_of_snowflake_keys_are_in_the_order_of_the_key(self):
        names = ("schema_name", "table_name", "constraint_name", "column_name", "key_sequence")
        cursor = mock.MagicMock(description=[(name, None) for name in names])
        cursor.fetchall.return_value = [("S", "T", "PK", "B", 2), ("S", "T", "PK", "A", 1)]
        connection = mock.MagicMock()
        connection.cursor.return_value.__enter__.return_value = cursor
        reader = READERS["snowflake"](connection, Configuration("snowflake"))
        self.assertEqual([*reader.primary_keys()], [("S", "T", "PK", "A"), ("S", "T", "PK", "B")])


class FakeCatalogueTests(SimpleTestCase):
    """Tests of what readers make of the rows of servers that cannot be run here."""

    def read(self, type_name, **rows):
        return tables_of(fake_catalogue(type_name, **rows), Configuration(type_name))

    def test_keys_and_indexes_of_sql_server_have_all_clauses(self):
        order = ("dbo", "orders", "pk", "at", True, "NONCLUSTERED", " IGNORE_DUP_KEY")
        number = ("dbo", "orders", "pk", "nr", False, "NONCLUSTERED", " IGNORE_DUP_KEY")
        index = ("dbo", "orders", "i", True)
        rest = ("NONCLUSTERED", "([deleted] IS NULL)", "DISABLED")
        table = self.read(
            "mssql",
            relations=[("dbo", "orders", "table", None, 5)],
            columns=[("dbo", "orders", "nr", "int", 0, 1, None, "IDENTITY(1,1)")],
            keys=[order, number],
            indexes=[(*index, "nr", "DESC", 0, *rest), (*index, "note", None, 1, *rest)],
            foreign_keys=[
                ("dbo", "orders", "fk", "nr", "dbo", "top", "id", "NO_ACTION", "SET_NULL", "")
            ],
        )["dbo.orders"]
        self.assertEqual(table["columns"][0]["default_value"], "IDENTITY(1,1)")
        self.assertEqual(table["primary_key"]["columns"], ["at", "nr"])
        self.assertEqual(
            table["primary_key"]["options"], "(at DESC, nr) NONCLUSTERED IGNORE_DUP_KEY"
        )
        [index] = table["indexes"]
        self.assertEqual((index["columns"], index["included_columns"]), (["nr"], ["note"]))
        self.assertEqual(index["predicate"], "([deleted] IS NULL)")
        [key] = table["foreign_keys"]
        self.assertEqual((key["on_update"], key["on_delete"]), ("no_action", "set_null"))

    def test_expressions_and_defaults_of_oracle_are_read_by_statements_of_their_own(self):
        index = ("S", "T", "I", 0)
        rest = ("FUNCTION-BASED NORMAL", "INVISIBLE")
        table = self.read(
            "oracle",
            relations=[("S", "T", "table", None, 5)],
            columns=[
                ("S", "T", "A", "NUMBER(10,0)", 0, 1, None),
                ("S", "T", "B", "NUMBER(10,0)", 0, 1, None),
                ("S", "T", "C", "NUMBER(10,0)", 0, 0, None),
            ],
            defaults=[
                ("S", "T", "A", "NO", "NO", "1 + 2 \n"),
                ("S", "T", "B", "YES", "NO", '"A"*2'),
            ],
            keys=[
                (*index, "A", None, "S", 1, *rest),
                (*index, "SYS_NC00004$", None, "S", 2, *rest),
                (*index, "SYS_NC00005$", "DESC", "S", 3, *rest),
            ],
            expressions=[("S", "I", 2, 'UPPER("B")'), ("S", "I", 3, '"C"')],
        )["S.T"]
        self.assertEqual(
            [column["default_value"] for column in table["columns"]],
            ["1 + 2", 'GENERATED ALWAYS AS ("A"*2) VIRTUAL', None],
        )
        [index] = table["indexes"]
        self.assertEqual(index["columns"], ["A", 'UPPER("B")', "C"])
        self.assertEqual(index["column_options"], ["", "", "DESC"])
        self.assertEqual(
            (index["method"], index["options"]), ("FUNCTION-BASED NORMAL", "INVISIBLE")
        )

    def test_relation_without_columns_says_that_it_may_be_broken(self):
        for type_name in ("mssql", "oracle", "clickhouse", "trino", "snowflake", "databricks"):
            with self.subTest(type_name):
                rows = {"relations": [("s", "v", "view", None, None)]}
                connection = fake_catalogue(type_name, **rows)
                reader = READERS[type_name](connection, Configuration(type_name))
                reader.primary_keys = reader.foreign_keys = reader.indexes = list
                [(view, _)] = Assembly(reader).tables()
                self.assertIn("no columns", view["problem"])


class AssemblyTests(SimpleTestCase):
    def reader(self, **rows):
        """Return a fake reader with these rows."""
        names = ("relations", "columns", "primary_keys", "foreign_keys", "indexes")
        found = {f"{name}.return_value": rows.get(name, []) for name in names}
        return mock.Mock(common_type=lambda source_type: "other", **found)

    def test_columns_of_a_table_created_during_the_reading_are_left_out(self):
        columns = [("s", "new", "a", "int", False, False, None), ("s", "t", "a", "int", 0, 1, "")]
        assembly = Assembly(self.reader(relations=[Relation("s", "t", "table")], columns=columns))
        [(table, _)] = assembly.tables()
        [column] = table["columns"]
        self.assertEqual((table["name"], assembly.total), ("t", 1))
        self.assertEqual(
            (column["nullable"], column["has_default"], column["comment"]), (False, True, None)
        )

    def test_unnamed_foreign_keys_are_kept_apart(self):
        relations = [Relation("s", "t", "table")]
        keys = [("s", "t", number, "a", "s", "other", "id") for number in (0, 1)]
        [(table, _)] = Assembly(self.reader(relations=relations, foreign_keys=keys)).tables()
        self.assertEqual([key["name"] for key in table["foreign_keys"]], [None, None])


class StandardCatalogueTests(SimpleTestCase):
    """Tests that run the statements of other servers on PostgreSQL, which accepts them."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        server = cls.enterClassContext(PostgreSQLServer())
        cls.connection = cls.enterClassContext(
            psycopg.connect(
                host="127.0.0.1",
                port=server.port,
                dbname=DATABASE,
                user=USERNAME,
                password=PASSWORD,
                autocommit=True,
            )
        )
        cls.connection.execute(
            "CREATE TABLE people (country char(2), id int, PRIMARY KEY (id, country));"
            "CREATE TABLE pets (id int, country char(2), owner int,"
            " CONSTRAINT of_owner FOREIGN KEY (owner, country) REFERENCES people"
            " ON DELETE CASCADE)"
        )

    def rows(self, type_name, statement):
        reader = READERS[type_name](self.connection, Configuration(type_name, schema_name="public"))
        reader.placeholder = "%(schema)s"
        sql = getattr(reader, statement).replace("{schema}", "%(schema)s")
        return self.connection.execute(sql, {"schema": "public"}).fetchall()

    def test_redshift_key_statements_unnest_the_columns(self):
        self.assertEqual(
            self.rows("redshift", "primary_keys_sql"),
            [
                ("public", "people", "people_pkey", "id"),
                ("public", "people", "people_pkey", "country"),
            ],
        )
        self.assertEqual(
            self.rows("redshift", "foreign_keys_sql"),
            [
                ("public", "pets", "of_owner", "owner", "public", "people", "id"),
                ("public", "pets", "of_owner", "country", "public", "people", "country"),
            ],
        )

    def test_trino_statements_read_the_information_schema(self):
        self.assertEqual(
            {row[:3] for row in self.rows("trino", "relations_sql")},
            {("public", "people", "table"), ("public", "pets", "table")},
        )
        columns = self.rows("trino", "columns_sql")
        self.assertEqual([row[2] for row in columns[:2]], ["country", "id"])

    def test_databricks_statements_read_the_keys(self):
        self.assertEqual(
            self.rows("databricks", "primary_keys_sql"),
            [
                ("public", "people", "people_pkey", "id"),
                ("public", "people", "people_pkey", "country"),
            ],
        )
        actions = ("NO ACTION", "CASCADE")
        self.assertEqual(
            self.rows("databricks", "foreign_keys_sql"),
            [
                ("public", "pets", "of_owner", "owner", "public", "people", "id", *actions),
                ("public", "pets", "of_owner", "country", "public", "people", "country", *actions),
            ],
        )
