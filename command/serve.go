package command

import (
	"fmt"

	"dockerauth/cli"
	"dockerauth/service"
)

// serveHTTP is the command "http".
func serveHTTP(args []string, streams cli.Streams) int {
	return serve("http", helpHTTP, "HOST:PORT", "tcp:", service.HTTP(), args, streams)
}

// serveFastCGI is the command "fastcgi".
func serveFastCGI(args []string, streams cli.Streams) int {
	return serve("fastcgi", helpFastCGI, "unix:PATH or tcp:HOST:PORT", "", service.FastCGI(), args, streams)
}

// serve runs a server that stays. form is what --listen wants, network goes before it.
func serve(name, help, form, network string, server service.Server, args []string, streams cli.Streams) int {
	flags := cli.NewFlags(name)
	flags.StringVar(&server.Config, "config", "", "")
	listen := flags.String("listen", "", "")
	flags.StringVar(&server.Admin, "admin", "", "")
	if status, ok := cli.ParseAll(flags, args, help, streams); !ok {
		return status
	}
	sockets, err := service.SystemdSockets()
	if err != nil {
		return cli.Fail(streams.Err, err)
	}
	switch {
	case len(sockets) == 0 && *listen == "":
		fmt.Fprintf(streams.Err, "dockerauth %s: no address to listen on\n"+
			"  give --listen %s, or start it from a systemd socket unit\n", name, form)
		return cli.ExitUsage
	case len(sockets) > 0 && *listen != "":
		fmt.Fprintf(streams.Err, "dockerauth %s: both --listen and a socket from systemd\n  leave one of them out\n",
			name)
		return cli.ExitUsage
	case *listen != "":
		server.Listen = network + *listen
	}
	server.Sockets = sockets
	return server.Run(streams)
}
