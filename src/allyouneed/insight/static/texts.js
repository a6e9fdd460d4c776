// All words of the page, in English and Korean.

const TEXTS = {
  title: ["Glass box", "유리 상자"],
  heads: ["Heads", "헤드"], steps: ["Step by step", "한 단계씩"], switches: ["Switches", "스위치"], search: ["Translation", "번역 과정"],
  theme: ["Light or dark", "밝게 / 어둡게"], language: ["한국어", "English"],
  facts: ["{0} + {1} layers, {2} heads, d_model {3}, d_k {4}, {5} parameters", "{0} + {1}층, 헤드 {2}개, d_model {3}, d_k {4}, 매개변수 {5}개"],
  encoder: ["Encoder self", "인코더 셀프"], decoder: ["Decoder self", "디코더 셀프"], cross: ["Encoder–decoder", "인코더–디코더"],
  encoderLong: ["encoder self-attention", "인코더 셀프 어텐션"], decoderLong: ["decoder self-attention", "디코더 셀프 어텐션"], crossLong: ["encoder–decoder attention", "인코더–디코더 어텐션"],
  headsLead: ["Every head decides, for each token on the left, how much to take from each token on the right. Choose one; hover a token to see only its lines.",
    "각 헤드는 왼쪽 토큰마다 오른쪽 토큰에서 얼마나 가져올지 정합니다. 하나를 고르고, 토큰 위에 올려 그 선만 보세요."],
  allHeads: ["All layers and heads", "모든 층과 헤드"], layer: ["Layer", "층"], head: ["Head", "헤드"],
  gridNote: ["Rows are queries, columns keys; darker is more. Arrow keys move, Enter shows, P pins a head to compare.", "행은 쿼리, 열은 키, 진할수록 큽니다. 화살표로 이동, Enter로 보기, P로 고정해 비교합니다."],
  pin: ["Compare", "비교"], pinNote: ["While on, a click adds a head in its own colour", "켜 두면 클릭할 때마다 헤드가 자기 색으로 더해집니다"],
  lines: ["Lines", "선"], matrix: ["Matrix", "행렬"], join: ["Join sub-words", "단어로 합치기"], unpin: ["remove", "빼기"],
  headName: ["layer {0}, head {1}", "{0}층 헤드 {1}"], headShort: ["L{0} H{1}", "{0}층 H{1}"],
  strongest: ["Only the {0} strongest keys of each query are kept in this page.", "이 페이지에는 쿼리마다 가장 강한 키 {0}개만 담겼습니다."],
  fewLines: ["Lines below {0} are not drawn; hover a token for all of its own.", "{0} 미만의 선은 그리지 않았습니다. 토큰 위에 올리면 그 토큰의 선이 모두 보입니다."],
  stepsLead: ["One head, computed before your eyes with this sentence's numbers. Choose a query and a key, and follow their one score down the page. The two switches below act on this head alone, at once.",
    "이 문장의 실제 숫자로 헤드 하나를 눈앞에서 계산합니다. 쿼리와 키를 고르고 그 점수 하나를 따라 내려가 보세요. 아래 두 스위치는 이 헤드에만 바로 적용됩니다."],
  query: ["Query", "쿼리"], key: ["Key", "키"], noStages: ["This page does not carry the vectors on the way: the sentence is too long for its size.", "문장이 길어 중간 벡터는 이 페이지에 담지 못했습니다."],
  thinned: ["{0} of {1} columns are shown", "{1}열 중 {0}열을 보입니다"],
  s1: ["What comes in", "들어오는 것"], s1t: ["A row for each token: what the layers below made of it.", "토큰마다 한 행: 아래층이 만들어 낸 벡터입니다."],
  s1m: ["Queries come from the target so far, keys and values from the encoder's output, the memory.", "쿼리는 지금까지의 번역문에서, 키와 값은 인코더의 출력(메모리)에서 나옵니다."],
  s2: ["Three linear layers", "세 개의 선형층"], s2t: ["What a token asks for, what it offers to be found by, and what it gives when found.", "토큰이 무엇을 찾는지(Q), 무엇으로 찾아지는지(K), 찾아지면 무엇을 내주는지(V)입니다."],
  s3: ["Every query with every key", "모든 쿼리와 모든 키"], s3t: ["The dot product of a query and a key: large where they point the same way. Its {0} products add up to the score.", "쿼리와 키의 내적: 방향이 같을수록 큽니다. {0}개의 곱을 더한 것이 점수입니다."],
  s4: ["Scale", "스케일"], s4t: ["A sum of {0} products spreads as √{0} times one product. Dividing by √d_k = {1} takes that back, so that the softmax stays where it can still change its mind.",
    "곱 {0}개의 합은 곱 하나보다 √{0}배 넓게 퍼집니다. √d_k = {1}로 나누면 이것이 되돌려져, 소프트맥스가 한쪽으로 굳지 않습니다."],
  s4n: ["spread of the scores (standard deviation): {0} before, {1} after", "점수의 퍼짐(표준편차): 나누기 전 {0}, 후 {1}"],
  s5: ["Mask (opt.)", "마스크 (선택)"], s5future: ["A position must not see those after it: they are what it has to predict. Their scores become −∞, so their weight is exactly 0.", "각 위치는 뒤를 볼 수 없습니다. 그것이 바로 예측할 답이기 때문입니다. 점수를 −∞로 두면 가중치가 정확히 0이 됩니다."],
  s5none: ["Nothing is hidden here: the whole source is known, and a single sentence has no padding. That is why figure 2 says “opt.”: only the decoder's self-attention hides the future.", "여기서는 가릴 것이 없습니다. 원문은 전부 알려져 있고 문장 하나에는 패딩이 없습니다. 그래서 그림 2에 “opt.”라고 적혀 있습니다. 미래를 가리는 것은 디코더의 셀프 어텐션뿐입니다."],
  s5see: ["See it where it matters: the decoder", "중요한 곳에서 보기: 디코더"],
  s6: ["Softmax", "소프트맥스"], s6t: ["Each row becomes shares that add up to 1.", "각 행이 합이 1인 비율로 바뀝니다."],
  s6n: ["entropy {0} nats of at most {1}; through the softmax come {2} of a gradient (1 − Σp²)", "엔트로피 {0} nats (최대 {1}), 소프트맥스를 통과하는 기울기 {2} (1 − Σp²)"],
  s7: ["Times V", "V와 곱하기"], s7t: ["Each token takes its shares of what the others give: the head's output.", "각 토큰이 비율만큼 다른 토큰의 값을 가져옵니다. 이것이 헤드의 출력입니다."],
  s8: ["Concat", "이어 붙이기"], s8t: ["All {0} heads side by side; this one is framed.", "헤드 {0}개를 나란히 놓습니다. 지금 헤드에 테두리를 쳤습니다."],
  s9: ["One last linear layer", "마지막 선형층"], s9t: ["One more linear layer lets the heads speak to each other.", "선형층 하나가 헤드들의 말을 한데 섞습니다."],
  s10: ["Add & norm", "더하고 정규화"], s10post: ["What came in is added back, then each row is brought to mean 0 and variance 1.", "들어온 것을 다시 더하고, 각 행을 평균 0, 분산 1로 맞춥니다."], s10pre: ["This model norms before attention (pre-norm); here only what came in is added back.", "이 모델은 어텐션 앞에서 정규화합니다(pre-norm). 여기서는 들어온 것을 더하기만 합니다."],
  s8note: ["Stages 8 to 10 are the model's own, whatever the two switches say.", "8–10단계는 두 스위치와 상관없이 모델이 실제로 계산한 값입니다."],
  score: ["score", "점수"], weight: ["weight", "가중치"], hidden: ["hidden", "가려짐"], visible: ["visible", "보임"],
  divide: ["÷ √d_k", "÷ √d_k"], masked: ["mask", "마스크"], temperature: ["Temperature", "온도"],
  rowOf: ["All keys for the query “{0}”", "쿼리 “{0}”의 모든 키"], ghost: ["the thin outline: the weight with the scale switched the other way", "가는 테두리: 스케일을 반대로 했을 때의 가중치"],
  switchesLead: ["Switch off one part of the whole model, in every layer, and see what it was for. Everything here was computed by the model.", "모델 전체, 모든 층에서 한 부분을 끄고 그것이 무엇을 위한 것이었는지 보세요. 모두 모델이 실제로 계산한 결과입니다."],
  one: ["This file carries each switch alone; allyouneed serve computes any combination.", "이 파일에는 스위치 하나씩의 결과가 담겼습니다. 조합은 allyouneed serve가 계산합니다."],
  scale: ["Divide by √d_k", "√d_k로 나누기"], scaleS: ["section 3.2.1: “scaled”", "3.2.1절: “scaled”"],
  future_mask: ["Mask the future", "미래 가리기"], future_maskS: ["in the decoder's self-attention, 3.2.3", "디코더 셀프 어텐션, 3.2.3절"],
  padding_mask: ["Mask the padding", "패딩 가리기"], padding_maskS: ["as if batched with a sentence 4 tokens longer", "4토큰 더 긴 문장과 한 배치일 때"],
  positions: ["Positions", "위치"], positionsS: ["section 3.5: nothing else tells the order", "3.5절: 순서를 알려 주는 유일한 것"],
  headsOff: ["Heads", "헤드"], headsOffS: ["click one to silence it; shade: how much the sentence loses", "눌러서 끄기. 진하기: 문장의 로그 확률 손실"],
  paper: ["Everything on", "모두 켜기"], before: ["before", "전"], after: ["after", "후"],
  wholeLayer: ["All heads of layer {0}", "{0}층의 모든 헤드"], saveView: ["Save this view", "이 화면 저장"],
  coming: ["The model computes …", "모델이 계산하고 있습니다 …"],
  absent: ["This combination is not in the file.", "이 조합은 파일에 없습니다."], failed: ["The server did not answer: {0}", "서버가 답하지 않습니다: {0}"],
  chooseOne: ["Choose a switch. The sentence, the attention and the next words appear before and after.", "스위치를 하나 골라 보세요. 번역, 어텐션, 다음 단어를 전후로 비교합니다."],
  a_scale: ["Without the division the scores of every layer are {0} times larger. The softmax hardens: mean entropy falls from {1} to {2} nats, and of a gradient only {4} instead of {3} would come through. A model learns poorly from that; this one, trained with the scale, {5}.",
    "나누지 않으면 모든 층의 점수가 {0}배 커집니다. 소프트맥스가 굳어 평균 엔트로피가 {1}에서 {2} nats로 떨어지고, 통과하는 기울기도 {3}에서 {4}로 줄어듭니다. 이래서는 배우기 어렵습니다. 스케일을 쓰며 훈련한 이 모델은 {5}."],
  a_scale_up: ["Without the division the scores of every layer are {0} times larger; mean entropy goes from {1} to {2} nats, and {4} instead of {3} of a gradient would come through the softmax. This model, trained with the scale, {5}.",
    "나누지 않으면 모든 층의 점수가 {0}배 커집니다. 평균 엔트로피는 {1}에서 {2} nats로, 소프트맥스를 통과하는 기울기는 {3}에서 {4}로 바뀝니다. 스케일을 쓰며 훈련한 이 모델은 {5}."],
  a_future_mask: ["Now each position sees the words after it: {0} of the decoder's self-attention goes there. In training that would be reading the answer; in use those words do not exist yet, so what was read changes with every new word, and this model {5}. That is what “mask (opt.)” is for.",
    "이제 각 위치가 뒤의 단어를 봅니다. 디코더 셀프 어텐션의 {0}가 그리로 갑니다. 훈련이라면 답을 베끼는 것이고, 실제 번역에서는 아직 없는 단어이므로 새 단어가 나올 때마다 읽은 것이 달라집니다. 이 모델은 {5}. “mask (opt.)”은 이것을 막습니다."],
  a_padding_mask: ["With the mask, padding changes nothing. Without it {0} of the attention over the source goes to empty places, and the translation would depend on which sentences share its batch: this model {5}.",
    "마스크가 있으면 패딩은 아무것도 바꾸지 않습니다. 없으면 원문에 대한 어텐션의 {0}가 빈자리로 가고, 번역이 같은 배치의 다른 문장에 좌우됩니다. 이 모델은 {5}."],
  a_positions: ["Without positions the model sees a bag of words: {0} of all attention moves elsewhere, and it {5}.", "위치가 없으면 모델에는 단어 주머니만 보입니다. 전체 어텐션의 {0}가 옮겨 가고, {5}."],
  a_temperature: ["Every score is divided by {6} as well. Mean entropy goes from {1} to {2} nats: below 1 attention hardens, above 1 it blurs. The model {5}.", "모든 점수를 {6}로 한 번 더 나눕니다. 평균 엔트로피가 {1}에서 {2} nats로 바뀝니다. 1보다 작으면 굳고 크면 흐려집니다. 모델은 {5}."],
  a_off: ["{7} is silent. {0} of all attention above it moves elsewhere, and the model {5}.", "{7}를 껐습니다. 전체 어텐션의 {0}가 옮겨 가고, 모델은 {5}."],
  a_many: ["With these switches {0} of all attention moves elsewhere, and the model {5}.", "이 스위치들로 전체 어텐션의 {0}가 옮겨 가고, 모델은 {5}."],
  sameText: ["still says the same", "여전히 같은 번역을 냅니다"], otherText: ["says something else", "다른 번역을 냅니다"], unknownText: ["was not made to translate again (the sentence is long)", "다시 번역하지 않았습니다(문장이 깁니다)"],
  entropyMean: ["mean entropy, nats", "평균 엔트로피, nats"], gradient: ["through the softmax, 1 − Σp²", "소프트맥스 통과, 1 − Σp²"], logp: ["log probability of the translation", "번역문의 로그 확률"],
  theTranslation: ["The translation", "번역"], theAttention: ["The attention", "어텐션"], theEntropy: ["Entropy of each head", "헤드별 엔트로피"], theNext: ["The next word", "다음 단어"],
  nextNote: ["Given the translation up to here, what would come next? Choose a place.", "여기까지의 번역이 주어졌을 때 다음에 올 단어는? 자리를 고르세요."],
  given: ["the token of the translation", "번역문의 토큰"], noAttention: ["The attention of this variant is not in the file; here is how much of each head's attention moved.", "이 변형의 어텐션은 파일에 없습니다. 헤드별로 옮겨 간 비율을 보입니다."],
  searchLead: ["Beam search keeps the {0} likeliest beginnings at every step. Blue: what won. Grey: cut. Green: hypotheses that ended.", "빔 서치는 단계마다 가장 그럴듯한 앞부분 {0}개를 남깁니다. 파랑: 선택된 번역, 회색: 잘린 것, 초록: 끝난 가설."],
  tree: ["The beam as a tree", "빔 트리"], step: ["Step", "단계"], play: ["Play", "재생"], pause: ["Pause", "멈춤"], atStep: ["What the decoder looks at, at this step", "이 단계에서 디코더가 보는 곳"], meanOf: ["mean of the heads of layer {0}", "{0}층 헤드의 평균"],
  penalty: ["Length penalty α", "길이 벌점 α"], penaltyNote: ["score = log probability / ((5 + length) / 6)^α. The rank is of the hypotheses found; with another α the search itself may find others.", "점수 = 로그 확률 / ((5 + 길이) / 6)^α. 찾은 가설의 순위입니다. α가 다르면 탐색이 다른 가설을 찾을 수 있습니다."],
  hypothesis: ["Hypothesis", "가설"], length: ["Length", "길이"], logP: ["log p", "log p"], noSearch: ["There was no search: the translation was given.", "번역문이 주어져 탐색은 하지 않았습니다."],
  words: ["Words that belong together", "서로 대응하는 단어"], wordsNote: ["Read off the encoder–decoder attention of the last layer but one. Hover a word.", "끝에서 두 번째 층의 인코더–디코더 어텐션에서 읽었습니다. 단어 위에 올려 보세요."],
  characters: ["characters {0} to {1}", "문자 {0}–{1}"], linked: ["{0} of its attention", "어텐션의 {0}"],
  corpusTitle: ["Heads over a corpus", "코퍼스 위의 헤드"], corpusLead: ["{0} sentences. Click a column to sort, a head for examples.", "{0}문장. 열을 눌러 정렬하고, 헤드를 눌러 예문을 보세요."],
  entropy: ["Entropy, nats", "엔트로피"], distance: ["Distance, tokens", "거리"], previous: ["Previous", "앞 토큰"], next: ["Next", "뒤 토큰"], same: ["Same", "같은 토큰"], period: ["Period", "마침표"], end: ["</s>", "</s>"], aer: ["AER", "AER"], importance: ["Loss when off", "껐을 때 손실"],
  corpusNote: ["Share of attention on a token at that place; period: ends of sentences and clauses. Loss when off: how much the loss of a token grows (nats) when the head is silent, over {0} sentences.", "그 자리의 토큰에 가는 어텐션의 비율. 마침표: 문장·절의 끝. 껐을 때 손실: 헤드를 끄면 늘어나는 토큰당 손실(nats), {0}문장."],
  aerNote: ["AER: alignment error rate, lower is better, against {0}.", "AER: 정렬 오류율(낮을수록 좋음), 기준: {0}."], examples: ["Examples of {0}", "{0}의 예문"],
  "IBM model 1 with a pull to the diagonal, learned on this text": ["IBM model 1 with a pull to the diagonal, learned on this text", "이 글에서 배운, 대각선에 끌리는 IBM 모델 1"],
  footerLive: ["Switches that this page does not carry, the server that gave it computes.", "이 페이지에 없는 스위치는 페이지를 준 서버가 계산합니다."],
  footer: ["Everything is in this page; it asks nothing of the network.", "모든 것이 이 페이지 안에 있으며 네트워크를 쓰지 않습니다."],
};

let language = (navigator.language || "en").startsWith("ko") ? 1 : 0;

export function t(name, ...values) {
  const text = TEXTS[name]?.[language] ?? name;
  return text.replace(/\{(\d)\}/g, (_, i) => values[i]);
}

export function switchLanguage() {
  language = 1 - language;
  document.documentElement.lang = language ? "ko" : "en";
}

export function startLanguage() {
  document.documentElement.lang = language ? "ko" : "en";
}
