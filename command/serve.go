package command

import (
	"flag"
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

func serveFlags(name string, server *service.Server, listen *string) *flag.FlagSet {
	flags := cli.NewFlags(name)
	flags.StringVar(&server.Config, "config", "", "`FILE` config.yml")
	flags.StringVar(listen, "listen", "", "address of the token endpoint")
	flags.StringVar(&server.Admin, "admin", "", "address for metrics and health")
	return flags
}

// serve runs a server that stays. form is what --listen wants, network goes before it.
func serve(name, help, form, network string, server service.Server, args []string, streams cli.Streams) int {
	listen := new(string)
	if status, ok := cli.ParseAll(serveFlags(name, &server, listen), args, help, streams); !ok {
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
