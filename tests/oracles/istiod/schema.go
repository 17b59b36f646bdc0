package main

import (
	"bufio"
	"fmt"
	"io"
	"sort"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	// Every type that an EnvoyFilter may name.
	_ "istio.io/istio/pkg/config/xds"
)

// printSchema writes every message and enum that Istio's objects and an
// EnvoyFilter's values may hold, one field per line:
//
//	FULL.NAME                       a message
//	 FIELD TYPE [@ONEOF] [!]        ! is deprecated
//	 FIELD=JSON TYPE                where the JSON name is not the usual one
//	FULL.NAME #                     an enum
//	 NAME NUMBER [!]
//
// Types: bool i32 u32 i64 u64 f32 f64 string bytes, .FULL.NAME a message,
// #FULL.NAME an enum; *TYPE a list, KEY>TYPE a map.
func printSchema(to io.Writer, istio bool) {
	out := bufio.NewWriter(to)
	defer out.Flush()
	messages := map[string]protoreflect.MessageDescriptor{}
	enums := map[string]protoreflect.EnumDescriptor{}
	for _, message := range roots(istio) {
		collect(message, messages, enums)
	}
	names := make([]string, 0, len(messages)+len(enums))
	for name := range messages {
		names = append(names, name)
	}
	for name := range enums {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		if message, is := messages[name]; is {
			printMessage(out, message)
		} else {
			printEnum(out, enums[name])
		}
	}
}

// Istio's objects.
var kinds = []protoreflect.FullName{
	"istio.extensions.v1alpha1.TrafficExtension",
	"istio.extensions.v1alpha1.WasmPlugin",
	"istio.networking.v1alpha3.DestinationRule",
	"istio.networking.v1alpha3.EnvoyFilter",
	"istio.networking.v1alpha3.Gateway",
	"istio.networking.v1alpha3.ServiceEntry",
	"istio.networking.v1alpha3.Sidecar",
	"istio.networking.v1alpha3.VirtualService",
	"istio.networking.v1alpha3.WorkloadEntry",
	"istio.networking.v1alpha3.WorkloadGroup",
	"istio.networking.v1beta1.ProxyConfig",
	"istio.security.v1beta1.AuthorizationPolicy",
	"istio.security.v1beta1.PeerAuthentication",
	"istio.security.v1beta1.RequestAuthentication",
	"istio.telemetry.v1alpha1.Telemetry",
}

// Linked into istiod, of no use in a proxy.
var foreign = []string{"agentgateway.", "io.prometheus.", "istio.", "k8s.io.", "opentelemetry.", "grpc."}

// roots are Istio's objects, or whatever an Any of an EnvoyFilter may be.
func roots(istio bool) (found []protoreflect.MessageDescriptor) {
	if istio {
		for _, name := range kinds {
			descriptor, err := protoregistry.GlobalFiles.FindDescriptorByName(name)
			if err != nil {
				fail("%s: %v", name, err)
			}
			found = append(found, descriptor.(protoreflect.MessageDescriptor))
		}
		return found
	}
	protoregistry.GlobalFiles.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		for _, prefix := range foreign {
			if strings.HasPrefix(string(file.Package())+".", prefix) {
				return true
			}
		}
		found = append(found, nested(file.Messages())...)
		return true
	})
	return found
}

func nested(messages protoreflect.MessageDescriptors) (found []protoreflect.MessageDescriptor) {
	for i := 0; i < messages.Len(); i++ {
		if message := messages.Get(i); !message.IsMapEntry() {
			found = append(append(found, message), nested(message.Messages())...)
		}
	}
	return found
}

func collect(message protoreflect.MessageDescriptor, messages map[string]protoreflect.MessageDescriptor,
	enums map[string]protoreflect.EnumDescriptor,
) {
	if message.IsMapEntry() {
		collectType(message.Fields().ByNumber(2), messages, enums)
		return
	}
	if _, known := messages[string(message.FullName())]; known {
		return
	}
	messages[string(message.FullName())] = message
	for i := 0; i < message.Fields().Len(); i++ {
		collectType(message.Fields().Get(i), messages, enums)
	}
}

func collectType(field protoreflect.FieldDescriptor, messages map[string]protoreflect.MessageDescriptor,
	enums map[string]protoreflect.EnumDescriptor,
) {
	if message := field.Message(); message != nil {
		collect(message, messages, enums)
	}
	if enum := field.Enum(); enum != nil {
		enums[string(enum.FullName())] = enum
	}
}

func printMessage(out io.Writer, message protoreflect.MessageDescriptor) {
	fmt.Fprintln(out, message.FullName())
	for i := 0; i < message.Fields().Len(); i++ {
		field := message.Fields().Get(i)
		name := string(field.Name())
		if field.JSONName() != usualJSON(name) {
			name += "=" + field.JSONName()
		}
		fmt.Fprintf(out, " %s %s", name, typeOf(field))
		if oneof := field.ContainingOneof(); oneof != nil && !oneof.IsSynthetic() {
			fmt.Fprintf(out, " @%d", oneof.Index())
		}
		if options, is := field.Options().(*descriptorpb.FieldOptions); is && options.GetDeprecated() {
			fmt.Fprint(out, " !")
		}
		fmt.Fprintln(out)
	}
}

func printEnum(out io.Writer, enum protoreflect.EnumDescriptor) {
	fmt.Fprintln(out, enum.FullName(), "#")
	for i := 0; i < enum.Values().Len(); i++ {
		value := enum.Values().Get(i)
		fmt.Fprintf(out, " %s %d", value.Name(), value.Number())
		if options, is := value.Options().(*descriptorpb.EnumValueOptions); is && options.GetDeprecated() {
			fmt.Fprint(out, " !")
		}
		fmt.Fprintln(out)
	}
}

func typeOf(field protoreflect.FieldDescriptor) string {
	if field.IsMap() {
		return scalar(field.MapKey()) + ">" + scalar(field.MapValue())
	}
	if field.IsList() {
		return "*" + scalar(field)
	}
	return scalar(field)
}

func scalar(field protoreflect.FieldDescriptor) string {
	switch field.Kind() {
	case protoreflect.BoolKind:
		return "bool"
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return "i32"
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return "i64"
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return "u32"
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return "u64"
	case protoreflect.FloatKind:
		return "f32"
	case protoreflect.DoubleKind:
		return "f64"
	case protoreflect.StringKind:
		return "string"
	case protoreflect.BytesKind:
		return "bytes"
	case protoreflect.EnumKind:
		return "#" + string(field.Enum().FullName())
	}
	return "." + string(field.Message().FullName())
}

// usualJSON is protoc's rule.
func usualJSON(name string) string {
	var out strings.Builder
	upper := false
	for _, c := range name {
		switch {
		case c == '_':
			upper = true
		case upper:
			out.WriteString(strings.ToUpper(string(c)))
			upper = false
		default:
			out.WriteRune(c)
		}
	}
	return out.String()
}
