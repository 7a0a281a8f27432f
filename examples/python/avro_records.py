"""Decodes the keys and values of Duplex's topics, which are Debezium's."""

import base64
import datetime
import decimal
import io
import json
import struct
import urllib.request

import fastavro


class Decoder:
    """Decodes Confluent's wire format: a zero byte, the schema's id, Avro."""

    def __init__(self, registry):
        self.registry = registry.rstrip("/")
        self.schemas = {}  # by id: (parsed schema, types of the columns)

    def decode(self, data):
        """Returns the record as a dict; the rows in it have readable values."""
        magic, schema_id = struct.unpack(">bI", data[:5])
        if magic != 0:
            raise ValueError("not in Confluent's wire format")
        if schema_id not in self.schemas:
            self.schemas[schema_id] = self._fetch(schema_id)
        schema, columns = self.schemas[schema_id]
        record = fastavro.schemaless_reader(io.BytesIO(data[5:]), schema)
        for row in (record, record.get("before"), record.get("after")):
            for name, kind in columns.items():
                if row and row.get(name) is not None:
                    row[name] = readable(row[name], kind)
        return record

    def _fetch(self, schema_id):
        with urllib.request.urlopen(f"{self.registry}/schemas/ids/{schema_id}", timeout=10) as answer:
            schema = json.loads(json.load(answer)["schema"])
        return fastavro.parse_schema(schema), column_types(schema)


def column_types(schema):
    """Finds the record of a row, Value or Key, and the Connect type of each column."""
    if isinstance(schema, list):
        return next((found for found in map(column_types, schema) if found), {})
    if not isinstance(schema, dict) or schema.get("type") != "record":
        return {}
    if schema["name"] in ("Value", "Key"):
        return {field["name"]: connect_name(field["type"]) for field in schema["fields"]}
    return next((found for found in (column_types(f["type"]) for f in schema["fields"]) if found), {})


def connect_name(kind):
    if isinstance(kind, list):  # a union with null
        kind = next(part for part in kind if part != "null")
    return kind.get("connect.name") if isinstance(kind, dict) else None


EPOCH = datetime.datetime(1970, 1, 1)


def readable(value, kind):
    """Turns Debezium's numbers into what they mean. DATETIME has no zone."""
    match kind:
        case "io.debezium.time.Date":
            return EPOCH.date() + datetime.timedelta(days=value)
        case "io.debezium.time.Timestamp":
            return EPOCH + datetime.timedelta(milliseconds=value)
        case "io.debezium.time.MicroTimestamp":
            return EPOCH + datetime.timedelta(microseconds=value)
        case "io.debezium.time.MicroTime":
            return datetime.timedelta(microseconds=value)
        case "io.debezium.data.Bits":
            return int.from_bytes(value, "little")
        case "io.debezium.data.Json":
            return json.loads(value, parse_float=decimal.Decimal)
    return value


def as_json(value):
    """For json.dumps: what JSON has no form of."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return str(value)


def headers(message):
    """The headers as text: origin, seq and hlc of every change."""
    return {name: value.decode() for name, value in message.headers() or [] if name in ("origin", "seq", "hlc")}
