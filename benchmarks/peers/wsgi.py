"""CTranslate2 behind a threaded WSGI server (waitress), as in LibreTranslate.

`python benchmarks/peers/wsgi.py CTRANSLATE2 TOKENIZER PORT BEAM`: each thread translates the requests it receives.
Needs `pip install ctranslate2 waitress`.
"""

from __future__ import annotations

import json
import sys

import ctranslate2
import sentencepiece
import waitress

THREADS, MODEL_THREADS = 64, 2  # a thread per client; two CTranslate2 workers with one thread each


def main() -> None:
    folder, tokenizer, port, beam = sys.argv[1:]
    translator = ctranslate2.Translator(folder, inter_threads=MODEL_THREADS, intra_threads=1)
    processor = sentencepiece.SentencePieceProcessor(model_file=tokenizer)

    def application(environ, start_response):
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = json.loads(environ["wsgi.input"].read(length) or '{"q": "."}')
        tokens = processor.encode(body["q"], out_type=str)
        [result] = translator.translate_batch([tokens], beam_size=int(beam), min_decoding_length=0, max_input_length=0)
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps({"translatedText": processor.decode(result.hypotheses[0])}).encode()]

    waitress.serve(application, host="127.0.0.1", port=int(port), threads=THREADS)


if __name__ == "__main__":
    main()
