"""LibreTranslate's way of serving: CTranslate2 behind a threaded WSGI server (it uses waitress, too), as a peer.

`python benchmarks/peers/wsgi.py CTRANSLATE2 TOKENIZER PORT BEAM`: each request is translated by the thread that has it.
Needs `pip install ctranslate2 waitress`.
"""

from __future__ import annotations

import json
import sys

import ctranslate2
import sentencepiece
import waitress

THREADS, MODEL_THREADS = 64, 2  # so that no client waits for a thread; two workers of one thread each


def main() -> None:
    folder, tokenizer, port, beam = sys.argv[1:]
    translator = ctranslate2.Translator(folder, inter_threads=MODEL_THREADS, intra_threads=1)
    pieces = sentencepiece.SentencePieceProcessor(model_file=tokenizer)

    def application(environ, start_response):
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = json.loads(environ["wsgi.input"].read(length) or '{"q": "."}')
        tokens = pieces.encode(body["q"], out_type=str)
        [found] = translator.translate_batch([tokens], beam_size=int(beam), min_decoding_length=0, max_input_length=0)
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps({"translatedText": pieces.decode(found.hypotheses[0])}).encode()]

    waitress.serve(application, host="127.0.0.1", port=int(port), threads=THREADS)


if __name__ == "__main__":
    main()
