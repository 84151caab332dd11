package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
)

// encode makes one line of JSON.
func encode(value any) []byte {
	var line bytes.Buffer
	encoder := json.NewEncoder(&line)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		panic(err) // only what we made ourselves comes here
	}
	return line.Bytes()
}

func text(value any) frame { return frame{data: bytes.TrimRight(encode(value), "\n")} }

// envelope puts a JSON header in front of a blob: its length in four bytes, big-endian, then itself.
func envelope(header any, blob []byte) frame {
	head := text(header).data
	data := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(head)+len(blob)), uint32(len(head)))
	return frame{binary: true, data: append(append(data, head...), blob...)}
}

// open parts an envelope; false: it is none.
func open(data []byte) (header, blob []byte, ok bool) {
	if len(data) < 4 {
		return nil, nil, false
	}
	length := uint64(binary.BigEndian.Uint32(data))
	if length > uint64(len(data)-4) {
		return nil, nil, false
	}
	return data[4 : 4+length], data[4+length:], true
}
