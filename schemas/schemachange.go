package schemas

import (
	"strings"

	"duplex/change"
)

// ChangeType is what a statement does to a table, in Debezium's words.
type ChangeType string

// The types of changes.
const (
	CreateTable ChangeType = "CREATE"
	AlterTable  ChangeType = "ALTER"
	DropTable   ChangeType = "DROP"
)

// SchemaChange is a record of topic `<region>.ddl`: Debezium's
// SchemaChangeValue with the stamp in its source block. Its tableChanges name
// the tables without their columns, which the binlog doesn't tell.
type SchemaChange struct {
	Source *Source
	// DB is the database that the statement is about, Table the first table
	// that it names, empty if none.
	DB, Table string
	Statement string
	Change    ChangeType
	// Tables are those that Change is made to, as pairs of database and name.
	Tables [][2]string
	// Millis is the time of writing, Unix milliseconds.
	Millis int64
}

// SchemaChangeKeySchema returns the schema of the key of a schema change.
// Engine is "mysql" or "mariadb".
func SchemaChangeKeySchema(engine string) string {
	ns := "io.debezium.connector." + engine
	return `{"type":"record","name":"SchemaChangeKey","namespace":"` + ns + `","fields":[{"name":"databaseName","type":"string"}],` +
		`"connect.version":1,"connect.name":"` + ns + `.SchemaChangeKey"}`
}

// SchemaChangeSchema returns the schema of a schema change.
func SchemaChangeSchema(engine string) string {
	ns := "io.debezium.connector." + engine
	source := strings.Replace(sourceSchema(engine), `"namespace":"`+ns+`",`, "", 1) // it inherits that of the whole
	return `{"type":"record","name":"SchemaChangeValue","namespace":"` + ns + `","fields":[{"name":"source","type":` + source + `},` +
		`{"name":"ts_ms","type":"long"},{"name":"databaseName","type":["null","string"],"default":null},` +
		`{"name":"schemaName","type":["null","string"],"default":null},{"name":"ddl","type":["null","string"],"default":null},` +
		`{"name":"tableChanges","type":{"type":"array","items":` + tableChangeSchema + `}}],` +
		`"connect.version":1,"connect.name":"` + ns + `.SchemaChangeValue"}`
}

const (
	tableChangeSchema = `{"type":"record","name":"Change","namespace":"io.debezium.connector.schema","fields":[{"name":"type","type":"string"},` +
		`{"name":"id","type":"string"},{"name":"table","type":["null",{"type":"record","name":"Table","fields":[` +
		`{"name":"defaultCharsetName","type":["null","string"],"default":null},` +
		`{"name":"primaryKeyColumnNames","type":["null",{"type":"array","items":"string"}],"default":null},` +
		`{"name":"columns","type":{"type":"array","items":` + tableColumnSchema + `}},{"name":"comment","type":["null","string"],"default":null}],` +
		`"connect.version":1,"connect.name":"io.debezium.connector.schema.Table"}],"default":null}],` +
		`"connect.version":1,"connect.name":"io.debezium.connector.schema.Change"}`
	tableColumnSchema = `{"type":"record","name":"Column","fields":[{"name":"name","type":"string"},{"name":"jdbcType","type":"int"},` +
		`{"name":"nativeType","type":["null","int"],"default":null},{"name":"typeName","type":"string"},` +
		`{"name":"typeExpression","type":["null","string"],"default":null},{"name":"charsetName","type":["null","string"],"default":null},` +
		`{"name":"length","type":["null","int"],"default":null},{"name":"scale","type":["null","int"],"default":null},{"name":"position","type":"int"},` +
		`{"name":"optional","type":["null","boolean"],"default":null},{"name":"autoIncremented","type":["null","boolean"],"default":null},` +
		`{"name":"generated","type":["null","boolean"],"default":null},{"name":"comment","type":["null","string"],"default":null},` +
		`{"name":"defaultValueExpression","type":["null","string"],"default":null},` +
		`{"name":"enumValues","type":["null",{"type":"array","items":"string"}],"default":null}],` +
		`"connect.version":1,"connect.name":"io.debezium.connector.schema.Column"}`
)

// SchemaChangeWriter writes the schema changes of one region.
type SchemaChangeWriter struct {
	region          change.Region
	engine, version string
}

// NewSchemaChangeWriter returns the writer of a region's schema changes. The
// version is that of this program.
func NewSchemaChangeWriter(region change.Region, engine, version string) *SchemaChangeWriter {
	return &SchemaChangeWriter{region, engine, version}
}

// Append appends the Avro encoding of a schema change.
func (w *SchemaChangeWriter) Append(dst []byte, c *SchemaChange) []byte {
	e := NewEnvelope(&Table{DB: c.DB, Name: c.Table}, w.region, w.engine, w.version)
	dst = e.appendSource(dst, c.Source)
	dst = AppendLong(dst, c.Millis)
	dst = AppendString(append(dst, 2), c.DB)
	dst = append(dst, 0) // schemaName: MySQL has none
	dst = AppendString(append(dst, 2), c.Statement)
	if c.Change != "" {
		dst = appendBlock(dst, len(c.Tables))
		for _, t := range c.Tables {
			dst = AppendString(dst, string(c.Change))
			dst = AppendString(dst, `"`+t[0]+`"."`+t[1]+`"`)
			dst = append(dst, 0) // table
		}
	}
	return append(dst, 0)
}
