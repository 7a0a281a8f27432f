-- The image makes account duplex with the password of secrets/mysql_duplex and
-- no privilege. This is all that it needs.
GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO 'duplex'@'%';
GRANT CREATE, SELECT, INSERT, UPDATE, DELETE ON `duplex`.* TO 'duplex'@'%';
GRANT SELECT, INSERT, UPDATE, DELETE ON `shop`.* TO 'duplex'@'%';
