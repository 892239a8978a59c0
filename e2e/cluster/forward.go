package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// forward listens on LISTEN where it was started and hands each connection to TARGET inside of the network namespace
// NETNS. It is how the host reaches the API server of a cluster whose node lives in a namespace of its own.
func forward(args []string) error {
	if len(args) != 3 {
		return fmt.Errorf("usage: k8s forward NETNS LISTEN TARGET")
	}
	namespace, err := os.Open(args[0])
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", args[1])
	if err != nil {
		return err
	}
	for {
		client, err := listener.Accept()
		if err != nil {
			return err
		}
		go serve(client.(*net.TCPConn), namespace, args[2])
	}
}

func serve(client *net.TCPConn, namespace *os.File, target string) {
	defer client.Close()
	dialled := make(chan net.Conn, 1)
	go func() {
		defer close(dialled)
		// Never unlocked: the thread has changed its namespace and must end with this goroutine.
		runtime.LockOSThread()
		if err := unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET); err != nil {
			fmt.Fprintln(os.Stderr, "enter the namespace:", err)
			return
		}
		connection, err := net.DialTimeout("tcp", target, 5*time.Second)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return
		}
		dialled <- connection
	}()
	connection, ok := <-dialled
	if !ok {
		return
	}
	server := connection.(*net.TCPConn)
	defer server.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(server, client)
		_ = server.CloseWrite()
	}()
	_, _ = io.Copy(client, server)
	_ = client.CloseWrite()
	<-done
}
