package bench

func plot(c []curve) string { return "" }
