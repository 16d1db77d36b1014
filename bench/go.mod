module dockerauth/bench

go 1.25.0
