package command

// examineKey looks at the signing key and its certificate.
func (c *checkup) examineKey() {}
