-- A small shop to try things with. Both regions start from the same rows.
CREATE DATABASE shop CHARACTER SET utf8mb4;
USE shop;

CREATE TABLE customer (
  id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  email VARCHAR(120) NOT NULL UNIQUE,
  name VARCHAR(80) NOT NULL,
  since DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)
);

CREATE TABLE product (
  code VARCHAR(20) COLLATE utf8mb4_bin NOT NULL PRIMARY KEY,
  title VARCHAR(120) NOT NULL,
  price DECIMAL(12,2) NOT NULL
);

CREATE TABLE orders (
  id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  customer BIGINT UNSIGNED NOT NULL,
  state ENUM('new','paid','sent') NOT NULL DEFAULT 'new',
  at TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
  FOREIGN KEY (customer) REFERENCES customer (id)
);

CREATE TABLE order_line (
  orders BIGINT UNSIGNED NOT NULL,
  line SMALLINT NOT NULL,
  product VARCHAR(20) COLLATE utf8mb4_bin NOT NULL,
  quantity INT NOT NULL,
  PRIMARY KEY (orders, line),
  FOREIGN KEY (orders) REFERENCES orders (id),
  FOREIGN KEY (product) REFERENCES product (code)
);

INSERT INTO customer (id, email, name, since) VALUES (1, 'ann@example.org', 'Ann', '2026-01-01 00:00:00');
INSERT INTO product VALUES ('tea', 'Green tea, 100 g', 4.50), ('cup', 'Cup, blue', 9.00);
