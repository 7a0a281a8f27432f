package demo

import (
	"context"
	"database/sql"
	"fmt"
)

// shop are the statements that make the tables: a parent with a unique key, a
// child and a grandchild by foreign keys, and counters under a composite key, whose
// rows say in home which region they belong to; and prices, which belong to both.
var shop = []string{
	"CREATE DATABASE shop CHARACTER SET utf8mb4",
	`CREATE TABLE shop.customers (
		id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY,
		home VARCHAR(8) NOT NULL,
		email VARCHAR(100) NOT NULL UNIQUE,
		name VARCHAR(60) NOT NULL,
		profile JSON NOT NULL,
		balance DECIMAL(14,4) NOT NULL DEFAULT 0,
		since DATETIME(6) NOT NULL)`,
	`CREATE TABLE shop.orders (
		id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY,
		home VARCHAR(8) NOT NULL,
		customer_id BIGINT UNSIGNED NOT NULL,
		status ENUM('new', 'paid', 'packed', 'sent') NOT NULL DEFAULT 'new',
		total DECIMAL(12,2) NOT NULL,
		note TEXT,
		changed TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6),
		FOREIGN KEY (customer_id) REFERENCES shop.customers (id))`,
	`CREATE TABLE shop.order_items (
		order_id BIGINT UNSIGNED NOT NULL,
		line SMALLINT NOT NULL,
		sku CHAR(6) NOT NULL,
		quantity INT NOT NULL,
		price DECIMAL(10,2) NOT NULL,
		weight DOUBLE,
		PRIMARY KEY (order_id, line),
		FOREIGN KEY (order_id) REFERENCES shop.orders (id))`,
	`CREATE TABLE shop.stock (
		warehouse VARCHAR(8) NOT NULL,
		sku CHAR(6) NOT NULL,
		quantity INT NOT NULL,
		sold BIGINT NOT NULL DEFAULT 0,
		PRIMARY KEY (warehouse, sku))`,
	`CREATE TABLE shop.prices (
		sku INT PRIMARY KEY,
		price DECIMAL(10,2) NOT NULL,
		changed_by VARCHAR(8) NOT NULL)`,
}

func createTables(ctx context.Context, db *sql.DB) error {
	for _, statement := range shop {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("making the demo's tables: %w", err)
		}
	}
	return nil
}
