package main

import "testing"

func TestRecognise(t *testing.T) {
	const redistribution = "Redistribution and use in source\n and binary forms are permitted"
	for text, want := range map[string]string{
		"Apache License\n  Version 2.0, January 2004": "Apache-2.0",
		"Mozilla Public License, version 2.0":         "MPL-2.0",
		redistribution + ". Neither the name of X":    "BSD-3-Clause",
		redistribution: "BSD-2-Clause",
		"Permission is hereby granted, free of\ncharge, to any":                    "MIT",
		"Permission is hereby granted, free of charge. Apache License Version 2.0": "Apache-2.0 AND MIT",
		"all rights reserved": "",
	} {
		if got := recognise(text); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
}
