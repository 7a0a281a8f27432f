package schemas

// Debezium's types that are more than one Avro value. As records they are
// named, so a schema has the whole definition where one is first used, and only
// its name after that.
const (
	connectPoint    = "io.debezium.data.geometry.Point"
	connectGeometry = "io.debezium.data.geometry.Geometry"
	connectVector   = "io.debezium.data.FloatVector"
)

const sridField = `{"name":"srid","type":["null","int"],"default":null}`

// definitions of the named types.
var definitions = map[string]string{
	connectPoint: `{"type":"record","name":"Point","namespace":"io.debezium.data.geometry","fields":[{"name":"x","type":"double"},{"name":"y","type":"double"},` +
		`{"name":"wkb","type":["null","bytes"],"default":null},` + sridField + `],"connect.doc":"Geometry (POINT)","connect.version":1,"connect.name":"` + connectPoint + `"}`,
	connectGeometry: `{"type":"record","name":"Geometry","namespace":"io.debezium.data.geometry","fields":[{"name":"wkb","type":"bytes"},` + sridField +
		`],"connect.doc":"Geometry","connect.version":1,"connect.name":"` + connectGeometry + `"}`,
}

// vectorType is a type without a name.
const vectorType = `{"type":"array","items":"float","connect.version":1,"connect.name":"` + connectVector + `"}`

// Optional reports whether the column is a union with null: where it may be
// NULL, and always for the types that Debezium makes optional.
func (c *Column) Optional() bool { return c.Nullable || c.Type == Geometry }

// kindOfNode returns the kind of a type that is more than one Avro value, and
// whether it is one. known are the named types seen before; only exactly
// Debezium's definitions are accepted, since the reader is compiled for them.
func kindOfNode(typ *node, known map[string]bool) (Kind, bool) {
	if name, ok := typ.scalar.(string); ok && known[name] {
		return namedKinds[name], true
	}
	text := string(typ.appendBare(nil))
	if text == bareVector {
		return KindVector, typ.text("connect.name") == connectVector
	}
	for name, bare := range bareDefinitions {
		if text == bare {
			known[name] = true
			return namedKinds[name], true
		}
	}
	return Invalid, false
}

var namedKinds = map[string]Kind{connectPoint: KindPoint, connectGeometry: KindGeometry}

// bareDefinitions and bareVector are the types without attributes, to compare.
var (
	bareDefinitions = map[string]string{connectPoint: bareOf(definitions[connectPoint]), connectGeometry: bareOf(definitions[connectGeometry])}
	bareVector      = bareOf(vectorType)
)

func bareOf(schema string) string {
	n, err := parseJSON(schema)
	if err != nil {
		panic(err) // a constant
	}
	return string(n.appendBare(nil))
}

// skipSpatial returns the position after a value of KindPoint, KindGeometry or
// KindVector.
func skipSpatial(k Kind, b []byte, at int) (int, error) {
	if k == KindVector {
		_, next, err := ReadVector(b, at)
		return next, err
	}
	_, _, next, err := ReadGeometry(k, b, at)
	return next, err
}

// AppendGeometry appends a value of KindPoint or KindGeometry from Well-Known
// Binary and its SRID. Of a point it must be the 21 bytes of one.
func AppendGeometry(dst []byte, k Kind, wkb []byte, srid uint32) []byte {
	if k == KindPoint {
		dst = append(dst, wkb[5:21]...) // x and y, little endian as in Avro
		dst = append(dst, 2)
	}
	dst = AppendBytes(dst, wkb)
	if srid == 0 {
		return append(dst, 0)
	}
	return AppendLong(append(dst, 2), int64(int32(srid)))
}

// ReadGeometry reads a value of KindPoint or KindGeometry.
func ReadGeometry(k Kind, b []byte, at int) (wkb []byte, srid uint32, next int, err error) {
	c := cursor{b: b, at: at}
	if k == KindPoint {
		if len(b)-at < 16 {
			return nil, 0, at, ErrTruncated
		}
		c.at += 16
		wkb = c.optionalBytes()
	} else {
		wkb = c.bytes()
	}
	if c.present() {
		srid = uint32(c.int())
	}
	return wkb, srid, c.at, c.err
}

// AppendVector appends a value of KindVector from its floats, little endian.
func AppendVector(dst, floats []byte) []byte {
	if len(floats) > 0 {
		dst = append(AppendLong(dst, int64(len(floats)/4)), floats...)
	}
	return append(dst, 0)
}

// ReadVector reads a value of KindVector: its floats, little endian, as one
// block has them. Other writers may use several blocks, then it copies.
func ReadVector(b []byte, at int) (floats []byte, next int, err error) {
	blocks := 0
	for {
		var n int64
		if n, at, err = ReadLong(b, at); err != nil || n == 0 {
			return floats, at, err
		}
		if n < 0 { // the form with the block's size in bytes
			n = -n
			if _, at, err = ReadLong(b, at); err != nil {
				return nil, at, err
			}
		}
		if n < 0 || n > int64(len(b)-at)/4 {
			return nil, at, ErrTruncated
		}
		block := b[at : at+int(n)*4]
		if blocks++; blocks == 1 {
			floats = block[:len(block):len(block)]
		} else {
			floats = append(floats, block...)
		}
		at += len(block)
	}
}
