package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"istio.io/istio/pkg/config/analysis/analyzers"
	"istio.io/istio/pkg/config/analysis/local"
	"istio.io/istio/pkg/config/resource"
)

// printFindings reads a case per line, names of files and perhaps
// `mesh=FILE`, and writes what istioctl's analyzers find in it as a line of
// JSON. Objects without a namespace are in none.
func printFindings(from io.Reader, to io.Writer) {
	out := bufio.NewWriter(to)
	defer out.Flush()
	lines := bufio.NewScanner(from)
	for lines.Scan() {
		analyzer := local.NewSourceAnalyzer(analyzers.AllCombined(), resource.Namespace(""), "istio-system", nil)
		var readers []local.ReaderSource
		for _, word := range strings.Fields(lines.Text()) {
			if mesh, is := strings.CutPrefix(word, "mesh="); is {
				if err := analyzer.AddFileKubeMeshConfig(mesh); err != nil {
					fail("%s: %v", mesh, err)
				}
				continue
			}
			file, err := os.Open(word)
			if err != nil {
				fail("%v", err)
			}
			readers = append(readers, local.ReaderSource{Name: word, Reader: file})
		}
		// What cannot be read is no finding.
		_ = analyzer.AddTestReaderKubeSource(readers)
		if err := analyzer.AddDefaultResources(); err != nil {
			fail("%v", err)
		}
		result, err := analyzer.Analyze(make(chan struct{}))
		if err != nil {
			fail("%s: %v", lines.Text(), err)
		}
		findings := []map[string]any{}
		for _, message := range result.Messages {
			findings = append(findings, message.Unstructured(true))
		}
		line, err := json.Marshal(findings)
		if err != nil {
			fail("%v", err)
		}
		fmt.Fprintln(out, string(line))
	}
}
