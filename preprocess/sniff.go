package preprocess

import (
	"bytes"
	"encoding/binary"
	"path/filepath"
	"slices"
	"strings"
)

// The formats that Decode reads, by the names Sniff gives.
const (
	jpegFormat = "jpeg"
	pngFormat  = "png"
	webpFormat = "webp"
	gifFormat  = "gif"
	bmpFormat  = "bmp"
	tiffFormat = "tiff"
)

// display spells a format's name for people; those not here are upper-cased.
var display = map[string]string{
	webpFormat: "WebP", "jxl": "JPEG XL", "jpeg2000": "JPEG 2000", "pnm": "PBM, PGM and PPM",
}

func displayName(format string) string {
	if name, ok := display[format]; ok {
		return name
	}
	return strings.ToUpper(format)
}

// magics are the bytes at the start of files, '?' standing for any byte.
var magics = []struct{ format, magic string }{
	{jpegFormat, "\xff\xd8\xff"},
	{pngFormat, "\x89PNG\r\n\x1a\n"},
	{webpFormat, "RIFF????WEBP"},
	{gifFormat, "GIF87a"},
	{gifFormat, "GIF89a"},
	{tiffFormat, "II*\x00"},
	{tiffFormat, "MM\x00*"},
	{tiffFormat, "II+\x00"}, // BigTIFF
	{tiffFormat, "MM\x00+"},
	{"jxl", "\xff\x0a"},
	{"jxl", "\x00\x00\x00\x0cJXL "},
	{"jpeg2000", "\x00\x00\x00\x0cjP  "},
	{"jpeg2000", "\xff\x4f\xff\x51"},
	{"psd", "8BPS"},
	{"pdf", "%PDF-"},
	{"exr", "\x76\x2f\x31\x01"},
	{"dds", "DDS "},
	{"qoi", "qoif"},
	{"pnm", "P4\n"}, {"pnm", "P5\n"}, {"pnm", "P6\n"},
	{"zip", "PK\x03\x04"},
	{"webm", "\x1a\x45\xdf\xa3"},
}

// Sniff names the format of data by its first bytes and says whether Decode
// reads it: jpeg, png, webp, gif, bmp and tiff are read; heic, avif, jxl,
// jpeg2000, svg, pdf, ico, psd and a few more are only recognised. It is "" for
// anything else. The name says nothing of whether the image is intact.
func Sniff(data []byte) (format string, supported bool) {
	for _, m := range magics {
		if hasMagic(data, m.magic) {
			_, supported = headers[m.format]
			return m.format, supported
		}
	}
	switch {
	case isBMP(data):
		return bmpFormat, true
	case hasMagic(data, "????ftyp"):
		return sniffBrands(data), false
	case isSVG(data):
		return "svg", false
	case isIcon(data, 1):
		return "ico", false
	case isIcon(data, 2):
		return "cur", false
	}
	return "", false
}

func hasMagic(data []byte, magic string) bool {
	if len(data) < len(magic) {
		return false
	}
	for i := range len(magic) {
		if magic[i] != '?' && magic[i] != data[i] {
			return false
		}
	}
	return true
}

// isBMP looks past the two letters, with which texts begin too, at the length
// of the second header.
func isBMP(data []byte) bool {
	if !hasMagic(data, "BM") {
		return false
	}
	if len(data) < 18 {
		return true
	}
	switch binary.LittleEndian.Uint32(data[14:]) {
	case 12, 40, 52, 56, 64, 108, 124:
		return true
	}
	return false
}

// isIcon looks past the type in the first four bytes, with which TGA files begin
// too, at the number of images and where the first of them is said to lie.
func isIcon(data []byte, kind uint16) bool {
	const head, entry = 6, 16
	if len(data) < head+entry {
		return false
	}
	le := binary.LittleEndian
	images, first := int64(le.Uint16(data[4:])), data[head:head+entry]
	size, offset := int64(le.Uint32(first[8:])), int64(le.Uint32(first[12:]))
	return le.Uint16(data) == 0 && le.Uint16(data[2:]) == kind && images > 0 &&
		(first[3] == 0 || first[3] == 255) && // reserved; .NET writes 255
		size > 0 && offset >= head+entry*images && offset+size <= 1<<31
}

// sniffBrands tells apart what shares the ISO base media container by the
// brands it lists.
func sniffBrands(data []byte) string {
	size := binary.BigEndian.Uint32(data)
	brands := data[8:max(8, min(len(data), int(min(size, 256))))]
	for ; len(brands) >= 4; brands = brands[4:] {
		switch string(brands[:4]) {
		case "avif", "avis":
			return "avif"
		case "heic", "heix", "hevc", "hevx", "heim", "heis", "mif1", "msf1":
			if !bytes.Contains(brands, []byte("avif")) {
				return "heic"
			}
		case "jxl ":
			return "jxl"
		case "jp2 ":
			return "jpeg2000"
		}
	}
	return "mp4"
}

func isSVG(data []byte) bool {
	text := bytes.TrimLeft(data[:min(len(data), 1024)], "\xef\xbb\xbf \t\r\n")
	return bytes.HasPrefix(text, []byte("<svg")) ||
		bytes.HasPrefix(text, []byte("<?xml")) && bytes.Contains(text, []byte("<svg")) ||
		bytes.HasPrefix(text, []byte("<!--")) && bytes.Contains(text, []byte("<svg"))
}

var extensions = []string{".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"}

// ImageName says whether a file's name ends as that of an image that Decode
// reads.
func ImageName(name string) bool {
	return slices.Contains(extensions, strings.ToLower(filepath.Ext(name)))
}
