// Command gotypes prints what Go's struct tags and types say about Kubernetes' API types and neither the OpenAPI
// document nor the .proto files do: which fields are pointers, which are left out when empty, and how Go names a
// field's type in its decoding errors. Run it with
//
//	go mod tidy && go run . > ../go-types.txt
//
// Each type of a stable version is a line, and each of its fields a line below, in the order of their JSON names:
// name, flags (p pointer, o omitempty, z omitzero), Go type and the embedded structs the field stands in.
package main

import (
	"bufio"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"sort"
	"strings"

	apidiscovery "k8s.io/api/apidiscovery/v2"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/client-go/kubernetes/scheme"
	aggregator "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
)

// modelName is the name of a type in the OpenAPI document: its package path with the domain reversed.
func modelName(t reflect.Type) string {
	domain, rest, _ := strings.Cut(t.PkgPath(), "/")
	parts := strings.Split(domain, ".")
	for i, j := 0, len(parts)-1; i < j; i, j = i+1, j-1 {
		parts[i], parts[j] = parts[j], parts[i]
	}
	return strings.Join(parts, ".") + "." + strings.ReplaceAll(rest, "/", ".") + "." + t.Name()
}

type walker struct {
	seen  map[reflect.Type]bool
	lines map[string][]string
}

func (w *walker) walk(t reflect.Type) {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map, reflect.Array:
		w.walk(t.Elem())
	case reflect.Struct:
		if w.seen[t] || !strings.HasPrefix(t.PkgPath(), "k8s.io/") {
			return
		}
		w.seen[t] = true
		name := modelName(t)
		w.fields(name, t, nil)
	}
}

// fields notes the fields of t under the model name; at holds the Go names of the embedded structs on the way.
func (w *walker) fields(name string, t reflect.Type, at []string) {
	for i := range t.NumField() {
		f := t.Field(i)
		tag := strings.Split(f.Tag.Get("json"), ",")
		if tag[0] == "-" || !f.IsExported() {
			continue
		}
		if tag[0] == "" {
			if f.Anonymous && f.Type.Kind() == reflect.Struct {
				w.fields(name, f.Type, append(append([]string{}, at...), f.Name))
			}
			continue
		}
		flags := ""
		ft := f.Type
		if ft.Kind() == reflect.Pointer {
			flags += "p"
			ft = ft.Elem()
		}
		for _, option := range tag[1:] {
			switch option {
			case "omitempty":
				flags += "o"
			case "omitzero":
				flags += "z"
			}
		}
		if flags == "" {
			flags = "-"
		}
		line := strings.Join([]string{tag[0], flags, ft.String(), strings.Join(at, ".")}, " ")
		w.lines[name] = append(w.lines[name], strings.TrimSpace(line))
		w.walk(f.Type)
	}
}

func main() {
	w := &walker{seen: map[reflect.Type]bool{}, lines: map[string][]string{}}
	s := scheme.Scheme
	for _, add := range []func(*runtime.Scheme) error{apiextensions.AddToScheme, aggregator.AddToScheme, metav1.AddMetaToScheme} {
		if err := add(s); err != nil {
			panic(err)
		}
	}
	for _, t := range s.AllKnownTypes() {
		w.walk(t)
	}
	for _, o := range []any{version.Info{}, apidiscovery.APIGroupDiscoveryList{}, metav1.PartialObjectMetadataList{}} {
		w.walk(reflect.TypeOf(o))
	}
	unstable := regexp.MustCompile(`\.v\d+(alpha|beta)\d+\.`)
	names := make([]string, 0, len(w.lines))
	for name := range w.lines {
		if !unstable.MatchString(name) {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for _, name := range names {
		fmt.Fprintln(out, name)
		sort.Strings(w.lines[name])
		for _, line := range w.lines[name] {
			fmt.Fprintln(out, " "+line)
		}
	}
}
