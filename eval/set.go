package eval

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"edgevit/model"
	"edgevit/preprocess"
)

// ErrSet is the error of a data set that cannot be read. Its message is "data
// set", what Open was given, a colon and the findings.
var ErrSet = errors.New("data set")

// Image is a file with the class of what it shows.
type Image struct {
	// Path is its name in reports: below the folder of the set, with slashes.
	Path string
	// File is what is opened.
	File  string
	Class int
}

// Set is a list of images with their classes.
type Set struct {
	// Data is the folder or file that it was read from.
	Data   string
	Images []Image
	// Ignored is the number of files that are no images by their names.
	Ignored int
}

// Open reads the data set of a model's classes. It has one of three forms:
//
//   - data is a folder with a folder for each class, in which images may be in
//     folders again;
//   - data is a CSV file (.csv) of path and class, with or without the heading
//     "path,label"; paths are relative to the file's folder;
//   - data is a folder of images, and truth a file of either one class a line, in
//     the sorted order of the images' names, or an image's name, a space and its
//     class a line.
//
// A class is a label of the model, if need be regardless of case, or else an
// index from 0, or where model.IsImageNet holds a WordNet id. A label of the form
// "n01440764 tench, Tinca tinca" is found by its id and by its names too.
// A truth file of indices that count from 1, for all one can see, is refused, and
// so is the one of ImageNet's development kit, whose order is its own. Files whose names begin with a dot are left out. The error is
// ErrSet.
func Open(data, truth string, m *model.Model) (Set, error) {
	return open(data, truth, namesOf(m).class)
}

// Facts are what is to be said of a data set before a model is chosen.
type Facts struct {
	Images, Classes int
	// Ignored is that of a Set.
	Ignored int
}

// Survey counts the images and classes of a data set, whatever these are
// called. The error is Open's.
func Survey(data string) (Facts, error) {
	seen := map[string]int{}
	set, err := open(data, "", func(name string) (int, error) {
		if _, ok := seen[name]; !ok {
			seen[name] = len(seen)
		}
		return seen[name], nil
	})
	if err != nil {
		return Facts{}, err
	}
	classes := map[int]bool{} // a folder without an image is none
	for _, im := range set.Images {
		classes[im.Class] = true
	}
	return Facts{len(set.Images), len(classes), set.Ignored}, nil
}

// ReadImage reads the image that a report on data calls path, of at most limit
// bytes. Nothing outside the folder of the data set is read, whatever path says
// and wherever links lead. The error, which names no path, is ErrTooLarge of
// preprocess or says why there is no such file.
func ReadImage(data, path string, limit int64) ([]byte, error) {
	info, err := os.Stat(data)
	if err != nil {
		return nil, errors.Unwrap(err)
	}
	if !info.IsDir() {
		data = filepath.Dir(data)
	}
	root, err := os.OpenRoot(data)
	if err != nil {
		return nil, errors.Unwrap(err)
	}
	defer root.Close()
	// Before it is opened, since opening a pipe waits.
	if info, err = root.Stat(filepath.FromSlash(path)); err != nil {
		return nil, errors.Unwrap(err)
	}
	if !info.Mode().IsRegular() {
		return nil, errIrregular
	}
	f, err := root.Open(filepath.FromSlash(path))
	if err != nil {
		return nil, errors.Unwrap(err)
	}
	defer f.Close()
	return readAll(f, limit)
}

var errIrregular = errors.New("no regular file")

// open reads a data set whose classes have indices by name.
func open(data, truth string, class func(name string) (int, error)) (Set, error) {
	r := reader{set: Set{Data: data}, class: class}
	err := r.read(data, truth)
	if err == nil {
		err = r.finish()
	}
	if err != nil {
		return Set{}, fmt.Errorf("%w %s: %w", ErrSet, data, err)
	}
	return r.set, nil
}

// read takes in what is in the set.
func (r *reader) read(data, truth string) error {
	info, err := os.Stat(data)
	if err != nil {
		return errors.Unwrap(err)
	}
	switch {
	case info.IsDir() && truth != "":
		return r.truth(data, truth)
	case truth != "":
		return errors.New("a file of classes goes with a folder of images, which this is not")
	case info.IsDir():
		return r.folders(data)
	case strings.EqualFold(filepath.Ext(data), ".csv"):
		return r.csv(data)
	}
	return errors.New("neither a folder nor a .csv file")
}

// Spread leaves n images, as evenly spread as can be, so that every class of a
// sorted set is among them.
func (s Set) Spread(n int) Set {
	all := s.Images
	if n >= len(all) {
		return s
	}
	s.Images = nil
	for i := range n {
		s.Images = append(s.Images, all[i*len(all)/n])
	}
	return s
}

// names finds classes by what a data set calls them.
type names struct {
	exact, folded map[string]int // several where a name stands for more than one
	classes       int
}

const several = -1

func namesOf(m *model.Model) names {
	n := names{map[string]int{}, map[string]int{}, m.Config.Classes}
	put := func(to map[string]int, name string, i int) {
		if _, taken := to[name]; taken {
			i = several
		}
		to[name] = i
	}
	for i, label := range m.Labels {
		put(n.exact, label, i)
		put(n.folded, strings.ToLower(label), i)
		if word := synset.FindStringSubmatch(label); word != nil {
			put(n.exact, word[1], i)
			put(n.folded, strings.ToLower(word[2]), i)
		}
	}
	if m.IsImageNet() {
		for i, id := range model.ImageNetIDs() {
			n.exact[id] = i
		}
	}
	return n
}

var (
	// synset is a line of ImageNet's synset_words.txt: WordNet id and names.
	synset   = regexp.MustCompile(`^(n\d{8})\s+(.+)$`)
	wordNet  = regexp.MustCompile(`^n\d{8}$`)
	kitTruth = regexp.MustCompile(`(?i)^ilsvrc.*ground_truth`)
)

func (n names) class(name string) (int, error) {
	name = strings.TrimSpace(name)
	i, ok := n.exact[name]
	if !ok {
		i, ok = n.folded[strings.ToLower(name)]
	}
	if ok && i == several {
		return 0, fmt.Errorf("%.80q is the label of several classes; name them by index", name)
	}
	if ok {
		return i, nil
	}
	i, err := strconv.Atoi(name)
	if err != nil && wordNet.MatchString(name) {
		return 0, fmt.Errorf("%s is a WordNet id that the model's labels do not tell; --labels FILE does, with lines of id and name in the order of its classes", name)
	}
	if err != nil {
		return 0, fmt.Errorf("%.80q is no label of the model and no index", name)
	}
	if i == n.classes {
		return 0, fmt.Errorf("index %d is not in 0..%d: indices are the model's, from 0; take 1 from each where they are in its order and count from 1", i, n.classes-1)
	}
	if i < 0 || i >= n.classes {
		return 0, fmt.Errorf("index %d is not in 0..%d: indices are the model's, from 0", i, n.classes-1)
	}
	return i, nil
}

type reader struct {
	set      Set
	class    func(name string) (int, error)
	findings []string
}

// maxFindings is how many of a set's findings are told.
const maxFindings = 10

func (r *reader) add(path, file, class, where string) {
	i, err := r.class(class)
	if err != nil {
		r.findings = append(r.findings, where+": "+err.Error())
		return
	}
	r.set.Images = append(r.set.Images, Image{path, file, i})
}

func (r *reader) finish() error {
	if n := len(r.findings); n > 0 {
		told := r.findings[:min(n, maxFindings)]
		if n > len(told) {
			told = append(told, fmt.Sprintf("and %d more", n-len(told)))
		}
		return errors.New(strings.Join(told, "; "))
	}
	if len(r.set.Images) == 0 {
		return errors.New("no image in it")
	}
	seen := map[string]bool{}
	for _, im := range r.set.Images {
		if seen[im.Path] {
			return fmt.Errorf("%s is there twice", im.Path)
		}
		seen[im.Path] = true
	}
	return nil
}

func hidden(name string) bool { return strings.HasPrefix(name, ".") }

func (r *reader) folders(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	flat := 0 // images in no class's folder
	for _, e := range entries {
		folder := filepath.Join(dir, e.Name())
		if hidden(e.Name()) {
			continue
		}
		if info, err := os.Stat(folder); err != nil || !info.IsDir() { // a link to a folder will do
			r.set.Ignored++
			flat += one(err == nil && preprocess.ImageName(e.Name()))
			continue
		}
		if _, err := r.class(e.Name()); err != nil {
			r.findings = append(r.findings, "folder "+e.Name()+": "+err.Error())
			continue
		}
		if err := r.folder(e.Name(), folder, e.Name()); err != nil {
			return err
		}
	}
	if flat > 0 && len(r.set.Images) == 0 && r.findings == nil {
		return fmt.Errorf("its %d images are in no class's folder, so that nothing tells their classes: give them in a file, --truth of api eval, or move each image into a folder named by its class", flat)
	}
	return nil
}

// folder takes in the images of one class.
func (r *reader) folder(path, dir, class string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		below, file := path+"/"+e.Name(), filepath.Join(dir, e.Name())
		switch {
		case hidden(e.Name()):
		case e.IsDir():
			if err := r.folder(below, file, class); err != nil {
				return err
			}
		case preprocess.ImageName(e.Name()):
			r.add(below, file, class, below)
		default:
			r.set.Ignored++
		}
	}
	return nil
}

func (r *reader) csv(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	lines := csv.NewReader(f)
	lines.FieldsPerRecord = -1 // counted here, since the error of csv does not say them
	lines.TrimLeadingSpace = true
	for first := true; ; first = false {
		row, err := lines.Read()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("want path,label: %w", err)
		}
		line, _ := lines.FieldPos(0)
		if len(row) != 2 {
			r.findings = append(r.findings, fmt.Sprintf("line %d: %d fields, want path,label: 2; what holds a comma goes in quotes", line, len(row)))
			continue
		}
		if first && strings.TrimPrefix(row[0], "\ufeff") == "path" && row[1] == "label" {
			continue
		}
		file := row[0]
		if !filepath.IsAbs(file) {
			file = filepath.Join(filepath.Dir(path), file)
		}
		r.add(filepath.ToSlash(row[0]), file, row[1], fmt.Sprintf("line %d", line))
	}
}

func (r *reader) truth(dir, truth string) error {
	text, err := os.ReadFile(truth)
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimRight(strings.ReplaceAll(string(text), "\r", ""), "\n"), "\n")
	if err := r.countsFrom0(truth, lines); err != nil {
		return err
	}
	if file, _, ok := strings.Cut(lines[0], " "); ok && preprocess.ImageName(file) {
		for i, line := range lines {
			file, class, _ := strings.Cut(line, " ")
			r.add(file, filepath.Join(dir, file), class, fmt.Sprintf("%s, line %d", truth, i+1))
		}
		return nil
	}
	entries, err := os.ReadDir(dir) // in order of name
	if err != nil {
		return err
	}
	var files []string
	folders := 0
	for _, e := range entries {
		folders += one(e.IsDir() && !hidden(e.Name()))
		switch {
		case hidden(e.Name()):
		case !e.IsDir() && preprocess.ImageName(e.Name()):
			files = append(files, e.Name())
		default:
			r.set.Ignored++
		}
	}
	if len(files) == 0 && folders > 0 {
		return fmt.Errorf("no image beside its %d folders; where these are named by class, %s is not needed: leave out --truth", folders, truth)
	}
	if len(lines) != len(files) {
		return fmt.Errorf("%s has %d lines for %d images", truth, len(lines), len(files))
	}
	for i, line := range lines {
		r.add(files[i], filepath.Join(dir, files[i]), line, fmt.Sprintf("%s, line %d", truth, i+1))
	}
	return nil
}

// meantFrom0 is how many indices without a 0 are no longer taken for ones that
// count from 0.
const meantFrom0 = 500

// countsFrom0 refuses indices that would give a wrong score in silence: those of
// ImageNet's development kit, and those among which there is no 0 though they
// are many.
func (r *reader) countsFrom0(truth string, lines []string) error {
	kit := kitTruth.MatchString(filepath.Base(truth))
	for _, line := range lines {
		class := strings.TrimSpace(line)
		if file, rest, ok := strings.Cut(class, " "); ok && preprocess.ImageName(file) {
			class = strings.TrimSpace(rest)
		}
		n, err := strconv.Atoi(class)
		switch {
		case err == nil && kit:
			return fmt.Errorf("%s counts ImageNet's classes from 1 in the development kit's own order, which is no model's. The kit's data folder tells their WordNet ids; write them there by"+
				"\n  %s\nand give --truth val.txt", truth, kitToWordNet)
		case kit:
		case err != nil || n == 0:
			return nil
		default:
			if i, err := r.class(class); err != nil || i != n { // told later, or a label that is a number
				return nil
			}
		}
	}
	if !kit && len(lines) >= meantFrom0 {
		return fmt.Errorf("there is no 0 among the %d indices of %s, so that they seem to count from 1, but indices are the model's, from 0: take 1 from each, or if they do count from 0, write labels instead", len(lines), truth)
	}
	return nil
}

// kitToWordNet is run where the ground truth and meta.mat of the kit are.
const kitToWordNet = `python3 -c 'import scipy.io as s; ids = {int(r[0]): r[1] for r in s.loadmat("meta.mat", squeeze_me=True)["synsets"]}; [print(ids[int(n)]) for n in open("ILSVRC2012_validation_ground_truth.txt")]' > val.txt`
