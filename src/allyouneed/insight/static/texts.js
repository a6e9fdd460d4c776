// Texts as pairs of English and Korean. Placeholders {0}, {1}, ... are filled by `t`. A view with many texts has its own
// module `NAME_texts.js`, which calls `addTexts`.

const TEXTS = {
  title: ["Attention explorer", "어텐션 탐색기"],
  heads: ["Heads", "헤드"], steps: ["Step by step", "단계별 계산"], switches: ["Switches", "스위치"], search: ["Beam search", "빔 서치"],
  theme: ["Light or dark theme", "밝은 테마 / 어두운 테마"], language: ["한국어", "English"],
  facts: ["{0} + {1} layers, {2} heads, d_model {3}, dₖ {4}, {5} parameters", "인코더 {0}층 + 디코더 {1}층, 헤드 {2}개, d_model {3}, dₖ {4}, 파라미터 {5}개"],
  factsGiven: ["{0}: layers {1}, heads {2}", "{0}: 층 {1}개, 헤드 {2}개"],
  encoder: ["Encoder self", "인코더 셀프"], decoder: ["Decoder self", "디코더 셀프"], cross: ["Encoder–decoder", "인코더–디코더"],
  encoderLong: ["encoder self-attention", "인코더 셀프 어텐션"], decoderLong: ["decoder self-attention", "디코더 셀프 어텐션"], crossLong: ["encoder–decoder attention", "인코더–디코더 어텐션"],
  headsLead: ["Each head distributes the attention of every token on the left (query) over the tokens on the right (keys). Select a head; hover over a token to see only its lines.",
    "각 헤드는 왼쪽 토큰(쿼리)의 어텐션을 오른쪽 토큰(키)에 나누어 줍니다. 헤드를 선택해 보세요. 토큰에 마우스를 올리면 그 토큰의 선만 보입니다."],
  allHeads: ["All layers and heads", "모든 층과 헤드"], layer: ["Layer", "층"], head: ["Head", "헤드"],
  gridNote: ["Rows are queries, columns are keys; a stronger colour means a larger weight. Arrow keys move, Enter selects, P adds a head to the comparison.", "행은 쿼리, 열은 키이며 색이 뚜렷할수록 가중치가 큽니다. 화살표 키로 이동하고, Enter로 선택하고, P로 비교할 헤드를 추가합니다."],
  pin: ["Compare", "비교"], pinNote: ["Click further heads to overlay them in different colours", "다른 헤드를 클릭하면 색을 달리해 겹쳐 그립니다"],
  lines: ["Lines", "선"], matrix: ["Matrix", "행렬"], join: ["Merge into words", "단어로 합치기"], unpin: ["Remove", "제거"],
  headName: ["layer {0}, head {1}", "{0}층 헤드 {1}"], headShort: ["L{0} H{1}", "{0}층 H{1}"],
  aboutTo: ["about to generate “{0}”", "다음에 생성할 토큰: “{0}”"],
  nextLabels: ["A query of the decoder is named after the token it receives; ▸ shows the token it is about to generate.", "디코더의 쿼리는 입력받은 토큰으로 표시하고, ▸ 뒤에 그 자리에서 생성할 다음 토큰을 적습니다."],
  queryAtStep: ["The query is “{0}”, about to generate “{1}”;", "쿼리: “{0}”, 생성할 토큰: “{1}”."],
  strongest: ["This page stores only the {0} largest weights of each query.", "이 페이지에는 쿼리마다 가중치가 큰 키 {0}개만 저장되어 있습니다."],
  tokenMarks: ["In token labels, · marks a token that continues a word, and ␣ a token that is only a space.", "토큰 표시에서 ·는 앞 토큰에 이어지는 토큰, ␣는 공백 하나로 된 토큰입니다."],
  fewLines: ["Weights below {0} are not drawn; hover over a token to see all of its lines.", "가중치가 {0} 미만인 선은 그리지 않습니다. 토큰에 마우스를 올리면 그 토큰의 선이 모두 보입니다."],
  stepsLead: ["One head, recomputed in your browser with the values of this sentence. Select a query and a key and follow their score through the computation. The two switches below affect only this head on this page.",
    "이 문장의 실제 값으로 헤드 하나를 브라우저에서 다시 계산합니다. 쿼리와 키를 선택하고 그 점수가 어떻게 계산되는지 따라가 보세요. 아래 두 스위치는 이 화면의 헤드에만 적용됩니다."],
  query: ["Query", "쿼리"], key: ["Key", "키"], noStages: ["This page does not contain the intermediate vectors: the sentence is too long.", "문장이 너무 길어 중간 벡터가 이 페이지에 들어 있지 않습니다."],
  thinned: ["{0} of {1} columns are shown", "표시한 열: {0}/{1}"],
  s1: ["Input", "입력"], s1t: ["One row per token: the output of the sub-layer below, or, at the bottom, the embeddings with their positions.", "토큰마다 한 행이며, 바로 아래 하위 층의 출력(맨 아래에서는 위치 인코딩을 더한 임베딩)입니다."],
  s1pre: ["One row per token. This model normalises before attention (pre-norm): r is the output of the sub-layer below, or, at the bottom, the embeddings with their positions.", "토큰마다 한 행입니다. 이 모델은 어텐션 앞에서 정규화합니다(pre-norm). r은 바로 아래 하위 층의 출력(맨 아래에서는 위치 인코딩을 더한 임베딩)입니다."],
  s1m: ["The queries come from the target tokens so far, the keys and values from the encoder output (the memory).", "쿼리는 지금까지 생성한 번역문에서, 키와 값은 인코더의 출력(메모리)에서 나옵니다."],
  s2: ["Three linear projections", "선형 사영 세 개"], s2t: ["Queries are compared with keys; the values are what a token contributes to the result.", "쿼리를 키와 비교하고, 값은 각 토큰이 결과에 보태는 벡터입니다."],
  s3: ["QKᵀ: every query with every key", "QKᵀ: 모든 쿼리와 모든 키"],
  s3n: ["Standard deviation: {0} of one product, {1} of a score, {2} times as much. For independent components with mean 0 and equal variance the factor would be √{4} = {3}, as at the start of training. The products of a trained head are generally not independent, so its factor can differ.", "표준편차: 곱 하나 {0}, 점수 {1}({2}배). 학습을 시작할 때처럼 성분이 서로 독립이고 평균이 0이며 분산이 같다면 √{4} = {3}배가 됩니다. 학습된 헤드에서는 곱들이 대개 서로 독립이 아니므로 배수가 다를 수 있습니다."], s3t: ["The score is the dot product of a query and a key, the sum of {0} products. It is large if both point in the same direction.", "점수는 쿼리와 키의 내적으로, 곱 {0}개의 합입니다. 두 벡터의 방향이 비슷할수록 큽니다."],
  s4: ["Scale", "스케일"], s4t: ["Each score is divided by √dₖ = {1}. If the components are independent with mean 0 and variance 1, as for random vectors, the standard deviation of the scores is √{0} before and 1 after, for every dₖ.", "점수를 √dₖ(= {1})로 나눕니다. 무작위 벡터처럼 성분이 서로 독립이고 평균이 0, 분산이 1이면 점수의 표준편차는 나누기 전 √{0}, 나눈 후 1이며, 나눈 후의 값은 dₖ와 관계없이 같습니다."],
  s4n: ["standard deviation of the scores: {0} before, {1} after", "점수의 표준편차: 나누기 전 {0}, 나눈 후 {1}"],
  s5: ["Mask (opt.)", "마스크(opt.)"], s5future: ["A position must not attend to later positions, which contain the tokens to be predicted. Their scores are set to −∞, so their weights are exactly 0. In decoding there is nothing to hide at the newest position: later tokens do not exist yet.", "각 위치는 뒤의 위치를 참조하면 안 됩니다. 예측할 토큰이 거기에 있기 때문입니다. 그 점수를 −∞로 두면 가중치가 정확히 0이 됩니다. 번역할 때는 뒤의 토큰이 아직 없으므로 가장 새로운 위치에서는 가릴 것이 없습니다."],
  s5none: ["Nothing is masked here: the whole source is known, and this sentence alone has no padding. In a batch with longer sentences, padding would be masked. This is why figure 2 says “opt.”: only the decoder’s self-attention masks later positions.", "여기서는 가릴 것이 없습니다. 원문은 전체가 주어져 있고, 이 문장만 넣으면 패딩도 없습니다. 더 긴 문장과 함께 배치로 넣으면 패딩을 가립니다. 그래서 그림 2에 “opt.”라고 적혀 있습니다. 뒤의 위치를 가리는 것은 디코더 셀프 어텐션뿐입니다."],
  s5see: ["Show the mask in the decoder", "디코더의 마스크 보기"],
  s6: ["Softmax", "소프트맥스"], s6t: ["Each row becomes weights that sum to 1.", "각 행이 합이 1인 가중치가 됩니다."],
  s6n: ["Mean over the queries: entropy {0} nats with the division by √dₖ, {1} without; norm of the softmax’s Jacobian ‖diag(p) − p pᵀ‖ {2} with, {3} without. The Jacobian is only one factor of the gradient: the division adds the factor 1/√dₖ = {4}, without it the factor is 1.", "쿼리 평균: √dₖ로 나눌 때 엔트로피 {0} nat, 나누지 않을 때 {1} nat. 소프트맥스의 야코비 행렬 노름 ‖diag(p) − p pᵀ‖: 나눌 때 {2}, 나누지 않을 때 {3}. 야코비 행렬은 기울기를 이루는 인수 가운데 하나일 뿐입니다. 여기에 곱해지는 값은 나눌 때 1/√dₖ = {4}, 나누지 않을 때 1입니다."],
  s6g: ["Gradient of the loss with respect to this head’s W^Q and W^K, by automatic differentiation over {2} sentences: norm {0} with the division in all layers, {1} without.", "문장 {2}개에서 자동 미분으로 구한 이 헤드의 W^Q, W^K에 대한 손실 기울기의 노름: 모든 층에서 나눌 때 {0}, 나누지 않을 때 {1}."],
  s6i: ["With random weights, as before training: {0} with, {1} without.", "학습 전처럼 무작위 가중치일 때: 나눌 때 {0}, 나누지 않을 때 {1}."],
  s7: ["Multiply by V", "V와 곱하기"], s7t: ["The output of the head for each query is the weighted sum of the values.", "쿼리마다 값의 가중합을 구한 것이 헤드의 출력입니다."],
  s8: ["Concat", "이어 붙이기"], s8t: ["The outputs of all {0} heads are concatenated; the selected head is framed.", "헤드 {0}개의 출력을 이어 붙입니다. 선택한 헤드에는 테두리가 있습니다."],
  s9: ["Output projection", "출력 사영"], s9t: ["A linear layer, W^O, mixes the outputs of the heads.", "선형 층 W^O가 헤드들의 출력을 섞습니다."],
  s10: ["Add & norm", "더하고 정규화"], s10post: ["The input is added (residual connection), then each row is normalised to mean 0 and variance 1, then scaled and shifted by learned parameters.", "입력을 더한 다음(잔차 연결), 각 행을 평균 0, 분산 1로 정규화하고 학습된 파라미터로 크기와 위치를 조정합니다."], s10pre: ["The vector r of stage 1, before its normalisation, is added (residual connection). This model does not normalise the sum (pre-norm).", "정규화하기 전의 1단계 벡터 r을 더합니다(잔차 연결). 이 모델은 합을 정규화하지 않습니다(pre-norm)."],
  s8note: ["Stages 8 to 10 show the model's own values, regardless of the two switches.", "8–10단계는 두 스위치와 관계없이 모델이 계산한 값입니다."],
  score: ["score", "점수"], weight: ["weight", "가중치"], hidden: ["masked", "가려짐"], visible: ["visible", "보임"],
  divide: ["÷ √dₖ", "÷ √dₖ"],
  notDivided: ["not divided", "나누지 않음"], masked: ["Mask", "마스크"], temperature: ["Temperature", "온도"],
  rowOf: ["All keys for the query “{0}”", "쿼리 “{0}”의 모든 키"], ghost: ["Thin outline: the weight without the division by √dₖ.", "가는 테두리: √dₖ로 나누지 않았을 때의 가중치입니다."],
  ghostScaled: ["Thin outline: the weight with the division by √dₖ.", "가는 테두리: √dₖ로 나누었을 때의 가중치입니다."],
  switchesLead: ["Turn off one part of attention in all layers of the trained model and compare the results. All values are computed by the model.", "학습된 모델의 모든 층에서 어텐션의 한 부분을 끄고 결과를 비교해 보세요. 모든 값은 모델이 계산한 것입니다."],
  one: ["This file contains the results for one change at a time; with allyouneed serve, changes can be combined.", "이 파일에는 하나씩 바꾼 결과만 들어 있습니다. 여러 변경을 조합하려면 allyouneed serve를 사용하세요."],
  scale: ["Divide by √dₖ", "√dₖ로 나누기"], scaleS: ["“scaled” dot-product attention, section 3.2.1", "3.2.1절의 “scaled”"],
  future_mask: ["Mask later positions", "뒤의 위치 가리기"], future_maskS: ["in the decoder's self-attention, section 3.2.3", "디코더 셀프 어텐션, 3.2.3절"],
  padding_mask: ["Mask padding", "패딩 가리기"], padding_maskS: ["4 padding tokens are added, as in a batch with a longer sentence", "더 긴 문장과 같은 배치일 때처럼 패딩 토큰 4개를 붙입니다"],
  positions: ["Positional encoding", "위치 인코딩"], positionsS: ["gives the encoder the order of the tokens, section 3.5", "인코더에 토큰의 순서를 알려 줍니다, 3.5절"],
  headsOff: ["Heads", "헤드"], headsOffS: ["click to turn a head off; stronger colour: larger drop in log probability", "클릭하면 헤드를 끕니다. 색이 뚜렷할수록 로그 확률이 많이 낮아집니다"],
  paper: ["Reset to the paper's model", "논문의 설정으로 되돌리기"], before: ["before", "변경 전"], after: ["after", "변경 후"],
  wholeLayer: ["All heads of layer {0}", "{0}층의 모든 헤드"], saveView: ["Save this view", "이 화면 저장"],
  coming: ["The server computes this combination …", "서버에서 이 조합을 계산하고 있습니다…"],
  absent: ["This combination is not in the file.", "이 조합은 파일에 들어 있지 않습니다."], failed: ["The server reported an error: {0}", "서버 오류: {0}"],
  chooseOne: ["Select a switch to compare the translation, the attention and the predicted tokens before and after the change.", "스위치를 선택하면 변경 전후의 번역, 어텐션, 예측 토큰을 비교할 수 있습니다."],
  a_scale: ["Without the division, every score is {0} times as large for the same queries and keys. In this sentence, mean entropy goes from {1} to {2} nats and the mean norm of the softmax’s Jacobian from {3} to {4}. This model, trained with the division, {5}.", "나누지 않으면 같은 쿼리와 키의 점수가 {0}배가 됩니다. 이 문장에서 평균 엔트로피는 {1}에서 {2} nat로, 소프트맥스의 야코비 행렬 노름의 평균은 {3}에서 {4}(으)로 바뀝니다. 나누기를 적용해 학습한 이 모델은 {5}."],
  a_future_mask: ["Each position now attends to later ones, which receive {0} of the decoder’s self-attention when the whole translation is given, as in training. There, a position would see the token it has to predict; the mask prevents that. In decoding there is no future to hide: the newest position sees the same tokens with and without the mask. But earlier positions attend to tokens generated after them, so their states change with every new token. This model, trained with the mask, {5}.", "이제 각 위치가 뒤의 위치도 참조합니다. 학습할 때처럼 번역문 전체를 넣으면 디코더 셀프 어텐션의 {0}가 뒤의 위치로 갑니다. 그러면 예측해야 할 토큰이 보이게 되는데, 마스크는 이것을 막습니다. 번역할 때는 가릴 미래가 없습니다. 가장 새로운 위치가 보는 토큰은 마스크가 있든 없든 같습니다. 다만 앞의 위치가 나중에 생성된 토큰을 참조하므로 토큰을 생성할 때마다 앞 위치의 상태가 달라집니다. 마스크를 적용해 학습한 이 모델은 {5}."],
  a_padding_mask: ["4 padding tokens follow the sentence here. With the mask they receive no attention and change nothing. Without it they receive {0} of the attention over the source, so that a result can depend on how much padding a batch adds. This model {5}.", "여기서는 문장 뒤에 패딩 토큰 4개를 붙였습니다. 마스크가 있으면 패딩은 어텐션을 받지 않고 결과도 바꾸지 않습니다. 마스크가 없으면 원문에 대한 어텐션의 {0}가 패딩으로 가므로, 배치에서 패딩이 얼마나 붙는지에 따라 결과가 달라질 수 있습니다. 이 모델은 {5}."],
  a_positions: ["Without positional encoding, the encoder treats the source as an unordered set of tokens: exchanging source tokens would change nothing. In the decoder, the mask of later positions still carries order, since each position sees only itself and the positions before it. {0} of all attention is redistributed, and this model {5}.", "위치 인코딩이 없으면 인코더는 원문을 순서 없는 토큰 집합으로 봅니다. 원문의 토큰을 서로 바꾸어도 결과가 같습니다. 디코더에는 뒤의 위치를 가리는 마스크 때문에 순서 정보가 남아 있습니다. 각 위치가 자신과 그 앞의 위치만 보기 때문입니다. 전체 어텐션의 {0}가 다른 위치로 옮겨 가고, 이 모델은 {5}."],
  a_temperature: ["Every score is additionally divided by the temperature {6}. For the same scores, a temperature below 1 sharpens the weights, above 1 flattens them; here mean entropy goes from {1} to {2} nats. This model {5}.", "모든 점수를 온도(= {6})로 한 번 더 나눕니다. 점수가 같다면 온도가 1보다 낮을 때 가중치가 한쪽에 집중되고, 높을 때 평평해집니다. 여기서는 평균 엔트로피가 {1}에서 {2} nat로 바뀝니다. 이 모델은 {5}."],
  a_off: ["Head off: {7}. {0} of all attention is redistributed, and this model {5}.", "끈 헤드: {7}. 전체 어텐션의 {0}가 다른 위치로 옮겨 가고, 이 모델은 {5}."],
  a_many: ["With these switches, {0} of all attention is redistributed, and this model {5}.", "이 설정에서는 전체 어텐션의 {0}가 다른 위치로 옮겨 가고, 이 모델은 {5}."],
  sameText: ["gives the same translation", "같은 번역을 냅니다"], otherText: ["gives a different translation", "다른 번역을 냅니다"], unknownText: ["was not run again on this long sentence", "이 긴 문장을 다시 번역하지 않았습니다"],
  entropyMean: ["mean entropy, nats", "평균 엔트로피(nat)"], jacobianNorm: ["mean norm of the softmax’s Jacobian", "소프트맥스의 야코비 행렬 노름(평균)"], logp: ["log probability of the translation", "번역문의 로그 확률"],
  logpVisible: ["log probability of the translation, each token visible where it is predicted", "번역문의 로그 확률(예측할 토큰이 그 자리에서 보이는 상태)"],
  greedyNote: ["Both translations are decoded greedily (the most likely token at each step), so they differ only by the switch; the translation at the top of the page may come from beam search. “…” marks a translation that was cut at the maximum length.",
    "두 번역 모두 단계마다 확률이 가장 높은 토큰을 고르는 그리디 방식으로 구했으므로 스위치의 차이만 나타납니다. 페이지 맨 위의 번역은 빔 서치로 구한 것일 수 있습니다. “…”는 최대 길이에서 잘린 번역을 뜻합니다."],
  theTranslation: ["Translation", "번역"], theAttention: ["Attention", "어텐션"], theEntropy: ["Entropy of each head", "헤드별 엔트로피"], entropyNote: ["One dot per head, mean over its queries: 0 if each query attends to a single key, ln n if it attends equally to n keys.", "점 하나가 헤드 하나이며, 쿼리들의 평균입니다. 쿼리마다 키 하나만 참조하면 0, 키 n개를 균등하게 참조하면 ln n입니다."], entropyMarks: ["Hollow: before, filled: after.", "빈 점: 변경 전, 채운 점: 변경 후."], theNext: ["Next token", "다음 토큰"],
  nextNote: ["Predictions for the selected token, given the tokens of this translation before it.", "이 번역문에서 선택한 토큰의 앞까지 주어졌을 때의 예측입니다."],
  nextNoteVisible: ["Before: given the tokens before the selected one. After: given the whole translation, in which every position also sees the token it has to predict; decoding offers no such view.", "변경 전: 선택한 토큰의 앞까지만 주어졌을 때의 예측입니다. 변경 후: 번역문 전체가 주어져 각 자리에서 예측할 토큰까지 보입니다. 실제로 번역할 때는 볼 수 없는 정보입니다."],
  given: ["token of the translation", "번역문의 토큰"], noAttention: ["The file does not contain the attention of this variant; shown is the share of each head's attention that is redistributed.", "이 변형의 어텐션은 파일에 들어 있지 않습니다. 헤드별로 옮겨 간 어텐션의 비율을 표시합니다."],
  searchLead: ["At every step, beam search keeps the {0} most likely partial translations. Blue: the best hypothesis; grey: pruned; green: finished hypotheses.", "빔 서치는 단계마다 확률이 가장 높은 부분 번역 {0}개를 남깁니다. 파란색: 가장 좋은 가설, 회색: 제외된 가설, 초록색: 완성된 가설."],
  tree: ["Beam search as a tree", "트리로 그린 빔 서치"], step: ["Step", "단계"], play: ["Play", "재생"], pause: ["Pause", "일시 정지"], atStep: ["Attention of the decoder at this step", "이 단계에서 디코더의 어텐션"], meanOf: ["weights: mean over the heads of layer {0}.", "가중치: {0}층 헤드의 평균."],
  penalty: ["Length penalty α", "길이 페널티 α"], penaltyNote: ["score = log probability / ((5 + length) / 6)^{α}. Only the hypotheses already found are ranked again; a search with another α may find others.", "점수 = 로그 확률 / ((5 + 길이) / 6)^{α}. 이미 찾은 가설의 순위만 다시 매깁니다. 다른 α로 탐색하면 다른 가설이 나올 수 있습니다."],
  hypothesis: ["Hypothesis", "가설"], length: ["Length", "길이"], logP: ["log p", "log p"], noSearch: ["No search was run: the translation was given.", "번역문이 주어져 탐색을 하지 않았습니다."],
  words: ["Word alignment", "서로 대응하는 단어"], wordsNote: ["From the encoder–decoder attention of decoder layer {0}. Hover over a word.", "디코더 {0}층의 인코더–디코더 어텐션에서 구했습니다. 단어에 마우스를 올려 보세요."],
  characters: ["characters {0} to {1}", "문자 {0}–{1}"], linked: ["{0} of its attention", "어텐션의 {0}"],
  corpusTitle: ["Heads over a corpus", "말뭉치 전체에서 본 헤드"], corpusLead: ["{0} sentence pairs. Click a column to sort by it, or a head to see examples.", "문장 쌍 {0}개. 열 제목을 클릭하면 그 열을 기준으로 정렬하고, 헤드를 클릭하면 예문을 보여 줍니다."],
  entropy: ["Entropy, nats", "엔트로피(nat)"], distance: ["Distance, tokens", "거리(토큰)"], previous: ["Previous position", "앞 자리"], next: ["Next position", "뒤 자리"], same: ["Same position", "같은 자리"], period: ["Punctuation", "문장 부호"], end: ["</s>", "</s>"], aer: ["AER", "AER"], importance: ["Loss increase when off", "껐을 때 손실 증가"],
  corpusNote: ["Columns for positions: share of attention on the token at that position, averaged over all queries, where the first has no previous position and the last no next one (0); undefined (–) for encoder–decoder heads, whose queries and keys are positions of different sentences, and in the decoder for the next position, which is masked, and </s>, which is never its input. Punctuation: marks at the end of sentences and clauses. Loss increase when off: in nats per token, with only this head turned off, measured on {0} sentence pairs.", "자리 열: 그 자리의 토큰이 받는 어텐션의 비율을 모든 쿼리에서 평균한 값입니다. 첫 쿼리의 앞 자리와 마지막 쿼리의 뒤 자리는 없으므로 0으로 계산합니다. 인코더–디코더 헤드는 쿼리와 키가 서로 다른 문장의 위치이고, 디코더에서는 뒤 자리가 가려져 있고 </s>가 입력되지 않으므로 정의되지 않습니다(–). 문장 부호: 문장이나 절의 끝에 오는 부호입니다. 껐을 때 손실 증가: 이 헤드만 껐을 때 늘어나는 토큰당 손실(nat)이며, 문장 쌍 {0}개에서 측정했습니다."],
  aerNote: ["AER: alignment error rate, lower is better; reference: {0}.", "AER: 정렬 오류율로, 낮을수록 좋습니다. 기준: {0}."], examples: ["Examples: {0}", "예문: {0}"],
  "IBM model 1 with a diagonal prior, trained on this corpus": ["IBM model 1 with a diagonal prior, trained on this corpus", "이 말뭉치로 학습한 IBM 모델 1(대각선 선호)"],
  footerLive: ["The server computes combinations of switches that this page does not contain.", "이 페이지에 없는 스위치 조합은 서버가 계산합니다."],
  footer: ["This page is self-contained and makes no network requests.", "이 페이지는 필요한 데이터를 모두 담고 있으며 네트워크를 사용하지 않습니다."],
};

/** Add the texts of a view. */
export function addTexts(texts) {
  Object.assign(TEXTS, texts);
}

let language = (navigator.language || "en").startsWith("ko") ? 1 : 0;

/** The text in the current language, with its placeholders filled. */
export function t(name, ...values) {
  const text = TEXTS[name]?.[language] ?? name;
  const filled = text.replace(/\{(\d)\}/g, (_, i) => values[i]);
  return language ? withParticles(filled) : filled;
}

const DIGITS = "영일이삼사오육칠팔구";

/** Choose the particle, of the pairs that the text gives, that follows a number or a Korean word; keep both after others. */
export function withParticles(text) {
  return text.replace(/([0-9가-힣])([”’)]?)(?:(을)\(를\)|(이)\(가\)|(은)\(는\)|\((으)\)로)/g, (_, last, closing, object, subject, topic) => {
    const final = ((DIGITS[last] ?? last).charCodeAt(0) - 0xac00) % 28; // 0: no final consonant, 8: ㄹ
    const [after, otherwise] = object ? ["을", "를"] : subject ? ["이", "가"] : topic ? ["은", "는"] : ["으로", "로"];
    return last + closing + (final && !(after === "으로" && final === 8) ? after : otherwise);
  });
}

export function switchLanguage() {
  language = 1 - language;
  document.documentElement.lang = language ? "ko" : "en";
}

export function startLanguage() {
  document.documentElement.lang = language ? "ko" : "en";
}
