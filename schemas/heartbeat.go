package schemas

// The schemas of a heartbeat are Debezium's.
const (
	HeartbeatKeySchema = `{"type":"record","name":"ServerNameKey","namespace":"io.debezium.connector.common","fields":[{"name":"serverName","type":"string"}],` +
		`"connect.version":1,"connect.name":"io.debezium.connector.common.ServerNameKey"}`
	HeartbeatSchema = `{"type":"record","name":"Heartbeat","namespace":"io.debezium.connector.common","fields":[{"name":"ts_ms","type":"long"}],` +
		`"connect.version":1,"connect.name":"io.debezium.connector.common.Heartbeat"}`
)
