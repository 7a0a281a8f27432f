package mysql

// serverError is what is known about one error number.
type serverError struct {
	name      string
	class     Class
	waiting   bool
	detail    detail
	why, hint string
}

// serverErrors is the one place that gives server errors a meaning. It is
// never written. Numbers above 1900 differ between MySQL and MariaDB, none of
// those listed has two meanings. A number that isn't here means Stop.
var serverErrors = map[uint16]serverError{
	// Locks and other transient trouble: the whole batch again.
	1205: {name: "ER_LOCK_WAIT_TIMEOUT", class: Retry, why: "another transaction held a lock for too long"},
	1213: {name: "ER_LOCK_DEADLOCK", class: Retry, why: "deadlock with another transaction"},
	1206: {name: "ER_LOCK_TABLE_FULL", class: Retry, why: "the server's lock table is full", hint: "enlarge innodb_buffer_pool_size or lower apply.batch_rows"},
	1020: {name: "ER_CHECKREAD", class: Retry, why: "the row changed since this transaction first read it"},
	1180: {name: "ER_ERROR_DURING_COMMIT", class: Retry, why: "the commit failed and was rolled back"},
	1317: {name: "ER_QUERY_INTERRUPTED", class: Retry, why: "the statement was killed"},
	1412: {name: "ER_TABLE_DEF_CHANGED", class: Retry, why: "the table was altered meanwhile"},
	1614: {name: "ER_XA_RBDEADLOCK", class: Retry, why: "deadlock with another transaction"},
	1615: {name: "ER_NEED_REPREPARE", class: Retry, why: "a prepared statement is out of date"},
	1637: {name: "ER_TOO_MANY_CONCURRENT_TRXS", class: Retry, why: "the server has too many open transactions"},
	1689: {name: "ER_LOCK_ABORTED", class: Retry, why: "the wait for a lock was aborted"},
	1969: {name: "ER_STATEMENT_TIMEOUT", class: Retry, why: "the statement ran longer than max_statement_time"},
	3024: {name: "ER_QUERY_TIMEOUT", class: Retry, why: "the statement ran longer than max_execution_time"},
	3100: {name: "ER_RUN_HOOK_ERROR", class: Retry, why: "a plugin (group replication) refused the transaction"},
	3101: {name: "ER_TRANSACTION_ROLLBACK_DURING_COMMIT", class: Retry, why: "group replication rolled the transaction back: another member changed the same rows"},
	3572: {name: "ER_LOCK_NOWAIT", class: Retry, why: "a row is locked by another transaction"},

	// The server can't at the moment: slowly again.
	1021: {name: "ER_DISK_FULL", class: Retry, waiting: true, why: "the server's disk is full", hint: "free space on the server's disk"},
	1114: {name: "ER_RECORD_FILE_FULL", class: Retry, waiting: true, why: "the server's disk or tablespace is full", hint: "free space on the server's disk"},
	1030: {name: "ER_GET_ERRNO", class: Stop, why: "the storage engine failed", hint: "see the server's error log"}, // Waiting if the disk is full
	1037: {name: "ER_OUTOFMEMORY", class: Retry, waiting: true, why: "the server is out of memory"},
	1040: {name: "ER_CON_COUNT_ERROR", class: Retry, waiting: true, why: "the server has too many connections", hint: "SET PERSIST max_connections=<more>, or close idle ones"},
	1041: {name: "ER_OUT_OF_RESOURCES", class: Retry, waiting: true, why: "the server is out of memory"},
	1047: {name: "ER_UNKNOWN_COM_ERROR", class: Retry, waiting: true, why: "the cluster node isn't ready for statements"},
	1129: {name: "ER_HOST_IS_BLOCKED", class: Retry, waiting: true, why: "the server blocks this host after too many failed connections", hint: "as an administrator: FLUSH HOSTS, or on MySQL 8.4 and later TRUNCATE TABLE performance_schema.host_cache"},
	1135: {name: "ER_CANT_CREATE_THREAD", class: Retry, waiting: true, why: "the server can't start another thread"},
	1203: {name: "ER_TOO_MANY_USER_CONNECTIONS", class: Retry, waiting: true, why: "the account has more connections than max_user_connections", hint: "ALTER USER … WITH MAX_USER_CONNECTIONS 0"},
	1226: {name: "ER_USER_LIMIT_REACHED", class: Retry, waiting: true, why: "the account has reached a limit of its own", hint: "ALTER USER … WITH MAX_QUERIES_PER_HOUR 0 MAX_UPDATES_PER_HOUR 0 MAX_CONNECTIONS_PER_HOUR 0 MAX_USER_CONNECTIONS 0"},
	1290: {name: "ER_OPTION_PREVENTS_STATEMENT", class: Retry, waiting: true, why: "the server is read-only", hint: "SET GLOBAL read_only=OFF if this is the writable server of the region"},
	1461: {name: "ER_MAX_PREPARED_STMT_COUNT_REACHED", class: Retry, waiting: true, why: "the server has too many prepared statements", hint: "SET PERSIST max_prepared_stmt_count=<more>"},
	1792: {name: "ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION", class: Retry, waiting: true, why: "transactions are read-only", hint: "SET GLOBAL transaction_read_only=OFF"},
	1836: {name: "ER_READ_ONLY_MODE", class: Retry, waiting: true, why: "the server is running in read-only mode", hint: "end innodb_read_only or the upgrade that set it"},

	// The connection is gone.
	1053: {name: "ER_SERVER_SHUTDOWN", class: Reconnect, why: "the server is shutting down"},
	1077: {name: "ER_NORMAL_SHUTDOWN", class: Reconnect, why: "the server is shutting down"},
	1079: {name: "ER_SHUTDOWN_COMPLETE", class: Reconnect, why: "the server is shutting down"},
	1152: {name: "ER_ABORTING_CONNECTION", class: Reconnect, why: "the server ended the connection"},
	1156: {name: "ER_NET_PACKETS_OUT_OF_ORDER", class: Reconnect, why: "packets came out of order"},
	1158: {name: "ER_NET_READ_ERROR", class: Reconnect, why: "the server couldn't read from the connection"},
	1159: {name: "ER_NET_READ_INTERRUPTED", class: Reconnect, why: "the server waited too long for data from us"},
	1160: {name: "ER_NET_ERROR_ON_WRITE", class: Reconnect, why: "the server couldn't write to the connection"},
	1161: {name: "ER_NET_WRITE_INTERRUPTED", class: Reconnect, why: "the server waited too long for us to take data"},
	1184: {name: "ER_NEW_ABORTING_CONNECTION", class: Reconnect, why: "the server ended the connection"},
	1243: {name: "ER_UNKNOWN_STMT_HANDLER", class: Reconnect, why: "the server has lost a prepared statement"},
	1927: {name: "ER_CONNECTION_KILLED", class: Reconnect, why: "the connection was killed"},
	2006: {name: "CR_SERVER_GONE_ERROR", class: Reconnect, why: "the server closed the connection"},
	2013: {name: "CR_SERVER_LOST", class: Reconnect, why: "the connection was lost during a statement"},
	4031: {name: "ER_CLIENT_INTERACTION_TIMEOUT", class: Reconnect, why: "the server closed the idle connection"},

	// Keys and constraints.
	1022: {name: "ER_DUP_KEY", class: Stop, detail: afterKey, why: "a unique key already holds this value", hint: duplicateHint},
	1062: {name: "ER_DUP_ENTRY", class: Stop, detail: afterKey, why: "a unique key already holds this value", hint: duplicateHint},
	1586: {name: "ER_DUP_ENTRY_WITH_KEY_NAME", class: Stop, detail: afterKey, why: "a unique key already holds this value", hint: duplicateHint},
	1216: {name: "ER_NO_REFERENCED_ROW", class: Stop, why: "a foreign key: the parent row is missing", hint: "insert the parent row as the other side has it, or make the foreign keys of both sides equal"},
	1217: {name: "ER_ROW_IS_REFERENCED", class: Stop, why: "a foreign key: other rows still refer to the row", hint: "delete or change those rows if the other side lacks them, or make the foreign keys of both sides equal"},
	1451: {name: "ER_ROW_IS_REFERENCED_2", class: Stop, why: "a foreign key: other rows still refer to the row", hint: "delete or change those rows if the other side lacks them, or make the foreign keys of both sides equal"},
	1452: {name: "ER_NO_REFERENCED_ROW_2", class: Stop, why: "a foreign key: the parent row is missing", hint: "insert the parent row as the other side has it, or make the foreign keys of both sides equal"},
	3819: {name: "ER_CHECK_CONSTRAINT_VIOLATED", class: Stop, why: "a CHECK constraint of this table refuses the row", hint: "make the constraints of both sides equal"},
	4025: {name: "ER_CONSTRAINT_FAILED", class: Stop, why: "a CHECK constraint of this table refuses the row", hint: "make the constraints of both sides equal"},
	1442: {name: "ER_CANT_UPDATE_USED_TABLE_IN_SF_OR_TRG", class: Stop, why: "a trigger writes to the table it belongs to", hint: "let the trigger do nothing where @duplex_apply is 1"},
	1644: {name: "ER_SIGNAL_EXCEPTION", class: Stop, detail: masked, why: "a trigger of the table raised an error", hint: "let the trigger do nothing where @duplex_apply is 1"},

	// The value doesn't fit the column: the tables of the two sides differ.
	1048: {name: "ER_BAD_NULL_ERROR", class: Stop, why: "the column takes no NULL here", hint: "make the column's nullability equal on both sides"},
	1264: {name: "ER_WARN_DATA_OUT_OF_RANGE", class: Stop, detail: afterCol, why: "the number doesn't fit the column", hint: "make the column's type equal on both sides"},
	1265: {name: "WARN_DATA_TRUNCATED", class: Stop, detail: afterCol, why: "the value doesn't fit the column", hint: "make the column's type equal on both sides"},
	1292: {name: "ER_TRUNCATED_WRONG_VALUE", class: Stop, detail: afterCol, why: "the column takes no such date, time or number", hint: "make the column's type equal on both sides"},
	1364: {name: "ER_NO_DEFAULT_FOR_FIELD", class: Stop, why: "a column that only this side has needs a value", hint: "ALTER TABLE … ALTER COLUMN … SET DEFAULT …, or make it NULL, or add it on the other side"},
	1366: {name: "ER_TRUNCATED_WRONG_VALUE_FOR_FIELD", class: Stop, detail: afterCol, why: "the column's character set or type can't hold the value", hint: "make the column's type and character set equal on both sides"},
	1367: {name: "ER_ILLEGAL_VALUE_FOR_TYPE", class: Stop, detail: masked, why: "the column takes no such value"},
	1406: {name: "ER_DATA_TOO_LONG", class: Stop, detail: afterCol, why: "the value is longer than the column", hint: "make the column's length equal on both sides"},
	1411: {name: "ER_WRONG_VALUE_FOR_TYPE", class: Stop, detail: masked, why: "the column takes no such value"},
	1416: {name: "ER_CANT_CREATE_GEOMETRY_OBJECT", class: Stop, why: "the geometry can't be stored"},
	1525: {name: "ER_WRONG_VALUE", class: Stop, detail: masked, why: "the column takes no such value"},
	1526: {name: "ER_NO_PARTITION_FOR_GIVEN_VALUE", class: Stop, detail: masked, why: "the table has no partition for the row", hint: "make the partitions equal on both sides"},
	1690: {name: "ER_DATA_OUT_OF_RANGE", class: Stop, detail: masked, why: "a computed number is out of range"},
	1906: {name: "ER_WARNING_NON_DEFAULT_VALUE_FOR_GENERATED_COLUMN", class: Stop, why: "the column is generated on this side only", hint: "make the column's definition equal on both sides"},
	3105: {name: "ER_NON_DEFAULT_VALUE_FOR_GENERATED_COLUMN", class: Stop, why: "the column is generated on this side only", hint: "make the column's definition equal on both sides"},
	3988: {name: "ER_IMPOSSIBLE_STRING_CONVERSION", class: Stop, detail: masked, why: "the column's character set can't hold the value", hint: "make the column's character set equal on both sides"},
	3140: {name: "ER_INVALID_JSON_TEXT", class: Stop, detail: afterCol, why: "the JSON column takes no such text"},
	3141: {name: "ER_INVALID_JSON_TEXT_IN_PARAM", class: Stop, detail: masked, why: "a JSON function takes no such text"},

	// Something is missing or has another shape.
	1049: {name: "ER_BAD_DB_ERROR", class: Stop, why: "the database is missing", hint: "create it as on the other side"},
	1054: {name: "ER_BAD_FIELD_ERROR", class: Stop, why: "the column is missing", hint: "ALTER TABLE … ADD COLUMN as on the other side"},
	1146: {name: "ER_NO_SUCH_TABLE", class: Stop, why: "the table is missing", hint: "create it as on the other side"},
	1305: {name: "ER_SP_DOES_NOT_EXIST", class: Stop, why: "a function or procedure is missing", hint: "create it as on the other side"},
	1932: {name: "ER_NO_SUCH_TABLE_IN_ENGINE", class: Stop, why: "the storage engine lacks the table that the server knows", hint: "see the server's error log, and create the table anew"},
	1356: {name: "ER_VIEW_INVALID", class: Stop, why: "the view refers to something that is missing"},
	1449: {name: "ER_NO_SUCH_USER", class: Stop, why: "the definer of a trigger or view is missing", hint: "create that account, or create the trigger anew with another DEFINER"},

	// Privileges and log-in.
	1044: {name: "ER_DBACCESS_DENIED_ERROR", class: Stop, why: "the account lacks a privilege"},
	1045: {name: "ER_ACCESS_DENIED_ERROR", class: Stop, why: "the server refuses the user or the password"},
	1130: {name: "ER_HOST_NOT_PRIVILEGED", class: Stop, why: "the server takes no connection from this host", hint: "create the account for this host or for '%'"},
	1142: {name: "ER_TABLEACCESS_DENIED_ERROR", class: Stop, why: "the account lacks a privilege"},
	1143: {name: "ER_COLUMNACCESS_DENIED_ERROR", class: Stop, why: "the account lacks a privilege"},
	1227: {name: "ER_SPECIFIC_ACCESS_DENIED_ERROR", class: Stop, why: "the account lacks a privilege"},
	1251: {name: "ER_NOT_SUPPORTED_AUTH_MODE", class: Stop, why: "the account uses an old way to log in", hint: "ALTER USER … IDENTIFIED WITH caching_sha2_password BY '…'"},
	1370: {name: "ER_PROCACCESS_DENIED_ERROR", class: Stop, why: "the account may not call a function that a trigger or view uses"},
	1524: {name: "ER_PLUGIN_IS_NOT_LOADED", class: Stop, why: "the account's way to log in isn't loaded in the server", hint: "ALTER USER … IDENTIFIED WITH caching_sha2_password BY '…'"},
	1698: {name: "ER_ACCESS_DENIED_NO_PASSWORD_ERROR", class: Stop, why: "the server refuses the user", hint: "the account logs in by another plugin: ALTER USER … IDENTIFIED BY '…'"},
	1820: {name: "ER_MUST_CHANGE_PASSWORD", class: Stop, why: "the account's password has expired", hint: "ALTER USER … PASSWORD EXPIRE NEVER, with a new password"},
	1862: {name: "ER_MUST_CHANGE_PASSWORD_LOGIN", class: Stop, why: "the account's password has expired", hint: "ALTER USER … PASSWORD EXPIRE NEVER, with a new password"},
	3118: {name: "ER_ACCOUNT_HAS_BEEN_LOCKED", class: Stop, why: "the account is locked", hint: "ALTER USER … ACCOUNT UNLOCK"},
	3159: {name: "ER_SECURE_TRANSPORT_REQUIRED", class: Stop, why: "the server takes only encrypted connections", hint: "set mysql.tls: verify-full"},

	// Limits and settings of the server.
	1118: {name: "ER_TOO_BIG_ROWSIZE", class: Stop, why: "the row is too large for the table's row format", hint: "make the table's ROW_FORMAT equal on both sides"},
	1153: {name: "ER_NET_PACKET_TOO_LARGE", class: Stop, why: "the statement is larger than max_allowed_packet", hint: "SET PERSIST max_allowed_packet=1073741824 on this server, then duplex resume"},
	1193: {name: "ER_UNKNOWN_SYSTEM_VARIABLE", class: Stop, why: "the server lacks a setting that duplex sets", hint: "MySQL 8.0.1 or MariaDB 10.11 and later are supported"},
	1197: {name: "ER_TRANS_CACHE_FULL", class: Stop, why: "the transaction is larger than max_binlog_cache_size", hint: "SET PERSIST max_binlog_cache_size=<more>"},
	1301: {name: "ER_WARN_ALLOWED_PACKET_OVERFLOWED", class: Stop, detail: masked, why: "a value is larger than max_allowed_packet", hint: "SET PERSIST max_allowed_packet=1073741824 on this server, then duplex resume"},
	1598: {name: "ER_BINLOG_LOGGING_IMPOSSIBLE", class: Stop, why: "the server can't write this change to its binlog", hint: "run duplex check"},
	1785: {name: "ER_GTID_UNSAFE_NON_TRANSACTIONAL_TABLE", class: Stop, why: "the table isn't transactional", hint: "ALTER TABLE … ENGINE=InnoDB"},
	1950: {name: "ER_GTID_STRICT_OUT_OF_ORDER", class: Stop, why: "gtid_strict_mode forbids the number that the transaction would get", hint: "another server writes to the same gtid_domain_id: give each that takes writes one of its own"},
	3098: {name: "ER_BEFORE_DML_VALIDATION_ERROR", class: Stop, why: "the table breaks a rule of group replication"},
	1236: {name: "ER_MASTER_FATAL_ERROR_READING_BINLOG", class: Stop, why: "the server can't give the binlog from this position"},

	// A fault of ours: the text of the statement may hold anything.
	1064: {name: "ER_PARSE_ERROR", class: Stop, detail: masked, why: "the server doesn't understand the statement: please report this"},
	1390: {name: "ER_PS_MANY_PARAM", class: Stop, why: "the statement has too many placeholders: please report this"},
}

const duplicateHint = "look in this region for the row that has the value under another primary key, delete or change whichever of the two rows is wrong, and duplex resume"
