CREATE INDEX orders_by_status ON orders (status, id);

CREATE INDEX orders_by_shipping ON orders (shipped_at);
