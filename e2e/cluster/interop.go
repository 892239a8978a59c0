package main

import (
	"context"
	"fmt"
	"net"
	"sort"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop"
	pb "google.golang.org/grpc/interop/grpc_testing"
)

// longest is how long a case may take.
const longest = 30 * time.Second

type client = pb.TestServiceClient

// cases are those of gRPC's interop client that need no credentials of a cloud and no load balancer, by the names that
// https://github.com/grpc/grpc/blob/master/doc/interop-test-descriptions.md gives them. A case that fails ends the process.
var cases = map[string]func(context.Context, *grpc.ClientConn){
	"cancel_after_begin":          each(interop.DoCancelAfterBegin),
	"cancel_after_first_response": each(interop.DoCancelAfterFirstResponse),
	"client_streaming":            each(interop.DoClientStreaming),
	"custom_metadata":             each(interop.DoCustomMetadata),
	"empty_stream":                each(interop.DoEmptyStream),
	"empty_unary":                 each(interop.DoEmptyUnaryCall),
	"large_unary":                 each(interop.DoLargeUnaryCall),
	"ping_pong":                   each(interop.DoPingPong),
	"server_streaming":            each(interop.DoServerStreaming),
	"special_status_message":      each(interop.DoSpecialStatusMessage),
	"status_code_and_message":     each(interop.DoStatusCodeAndMessage),
	"timeout_on_sleeping_server":  each(interop.DoTimeoutOnSleepingServer),
	"unimplemented_method":        interop.DoUnimplementedMethod,
	"unimplemented_service": func(ctx context.Context, connection *grpc.ClientConn) {
		interop.DoUnimplementedService(ctx, pb.NewUnimplementedServiceClient(connection))
	},
}

func each(call func(context.Context, client, ...grpc.CallOption)) func(context.Context, *grpc.ClientConn) {
	return func(ctx context.Context, connection *grpc.ClientConn) {
		call(ctx, pb.NewTestServiceClient(connection))
	}
}

// grpcInterop serves gRPC's test service, or calls one: for trying whether gRPC passes through a proxy whole.
func grpcInterop(args []string) error {
	switch {
	case len(args) == 2 && args[0] == "serve":
		listener, err := net.Listen("tcp", args[1])
		if err != nil {
			return err
		}
		server := grpc.NewServer()
		pb.RegisterTestServiceServer(server, interop.NewTestServer())
		return server.Serve(listener)
	case len(args) == 3 && args[0] == "call" && cases[args[2]] != nil:
		connection, err := grpc.NewClient(args[1], grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return err
		}
		defer connection.Close()
		ctx, cancel := context.WithTimeout(context.Background(), longest)
		defer cancel()
		cases[args[2]](ctx, connection)
		return nil
	default:
		names := make([]string, 0, len(cases))
		for name := range cases {
			names = append(names, name)
		}
		sort.Strings(names)
		return fmt.Errorf("usage: k8s grpc-interop serve ADDRESS | call ADDRESS CASE, with one of %s", strings.Join(names, ", "))
	}
}
