"""What tests share: real brokers, servers, clients and process trees to test against."""
