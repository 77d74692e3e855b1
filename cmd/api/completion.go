package main

import (
	"fmt"
	"os"

	"github.com/alecthomas/kong"
	"github.com/posener/complete"
	"github.com/willabides/kongplete"
)

type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// completionScripts make each shell ask this program, which must be on PATH,
// what may stand at the cursor. Where it has no answer, as for a path, the
// shell completes files.
var completionScripts = map[string]string{
	"bash": "complete -o default -C api api\n",
	"zsh":  "autoload -U +X bashcompinit && bashcompinit\ncomplete -o default -C api api\n",
	"fish": `function __complete_api
    set -lx COMP_LINE (commandline -cp)
    test -z (commandline -ct); and set COMP_LINE "$COMP_LINE "
    api
end
complete -c api -a "(__complete_api)"
`,
}

// Run prints the script, for the file that the shell reads when it starts.
func (c *completionCmd) Run(s std) error {
	_, err := fmt.Fprint(s.out, completionScripts[c.Shell])
	return err
}

// completing says whether a shell asks what may stand at its cursor: bash's
// protocol for complete -C, which the other shells' scripts speak too.
func completing() bool { return os.Getenv("COMP_LINE") != "" }

// completeLine answers the shell.
func completeLine(parser *kong.Kong, s std) error {
	command, err := kongplete.Command(parser)
	if err != nil {
		return err
	}
	c := complete.New(parser.Model.Name, command)
	c.Out = s.out
	c.Complete()
	return nil
}
